"""Figures by method and slice over several seeds, and the verdicts that they give.

Intervals are 95 % bootstrap over visitors: a visitor is drawn with all that was asked about them
under every seed. The best of several methods is the best one on these very questions, which is
the hardest comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.next_item import MERGED, RANKED
from kindred.experiments.representations.answers import COVERED, COVERING
from kindred.experiments.representations.clusters import Clusters
from kindred.experiments.representations.methods import (
    FOLD_IN,
    HYBRID,
    IMPLICIT,
    KNOWN_VISITOR,
    Answered,
)
from kindred.experiments.representations.training import LINEAR
from kindred.schemas.ranking import Doubles, Mask

Slice = Literal["all", "warm", "cold"]
SLICES: tuple[Slice, ...] = ("all", "warm", "cold")
MEASURES = ("HR@10", "HR@50", "MRR")
HEADLINE = "HR@10"
DEEPEST = 50
"""MRR counts an answer deeper than this as missed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One seed's questions and answers."""

    subject: NDArray[np.int32]
    """int32[Q]: who was asked about; the same code under every seed"""
    cold: Mask
    """bool[Q]"""
    answered: Mapping[str, Answered]


@dataclass(frozen=True)
class Figures:
    """One slice of the questions of all seeds."""

    asked: Sequence[Asked]
    part: Slice
    seed: int

    @cached_property
    def kept(self) -> list[Mask]:
        """bool[Q] by seed."""
        whole = [np.ones(len(a.cold), np.bool_) for a in self.asked]
        told = {
            "all": whole,
            "warm": [~a.cold for a in self.asked],
            "cold": [a.cold for a in self.asked],
        }
        return told[self.part]

    @cached_property
    def clusters(self) -> Clusters:
        """Visitors of the slice."""
        subject = [a.subject[k] for a, k in zip(self.asked, self.kept, strict=True)]
        return Clusters(np.concatenate(subject), self.seed)

    def __len__(self) -> int:
        return sum(int(k.sum()) for k in self.kept)

    def values(self, method: str, measure: str) -> Doubles:
        """float64[Q]: one measure of one method over all seeds."""
        parts = []
        for asked, kept in zip(self.asked, self.kept, strict=True):
            ranks = asked.answered[method].ranking.ranks[kept]
            if measure == "MRR":
                parts.append(np.where(ranks <= DEEPEST, 1.0 / ranks, 0.0))
            else:
                parts.append((ranks <= int(measure.partition("@")[2])).astype(np.float64))
        return np.concatenate(parts)

    def means(self, methods: Sequence[str], measure: str = HEADLINE) -> dict[str, float]:
        """Mean by method."""
        return {m: float(self.values(m, measure).mean()) for m in methods} if len(self) else {}

    def best(self, methods: Sequence[str]) -> str | None:
        """The one with the highest hit rate on these questions."""
        means = self.means(methods)
        return max(means, key=lambda m: means[m], default=None)

    def lead(self, method: str, other: str, measure: str = HEADLINE) -> dict[str, Any]:
        """`method` − `other`, paired: absolute, and relative to the other's mean."""
        theirs = self.values(other, measure)
        found = self.clusters.interval(self.values(method, measure) - theirs)
        base = float(theirs.mean())
        return {
            "difference": _rounded(found),
            "relative": _rounded([x / base for x in found]) if base else None,
        }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(x), 5) for x in values]


def methods_of(asked: Sequence[Asked], *kinds: str) -> list[str]:
    """Methods of these kinds that every seed has."""
    first = asked[0].answered
    return [
        name
        for name, found in first.items()
        if (not kinds or found.kind in kinds) and all(name in a.answered for a in asked)
    ]


def tables(asked: Sequence[Asked], items: int, seed: int) -> dict[str, Any]:
    """Figures by slice and method."""
    out: dict[str, Any] = {}
    for part in SLICES:
        figures = Figures(asked, part, seed)
        if not len(figures):
            continue
        rows = {}
        for name in methods_of(asked):
            found: dict[str, Any] = {"kind": asked[0].answered[name].kind}
            for measure in MEASURES:
                found[measure] = _rounded(figures.clusters.interval(figures.values(name, measure)))
            found[f"{HEADLINE} by seed"] = _rounded(
                [
                    float((a.answered[name].ranking.ranks[k] <= COVERED).mean()) if k.any() else 0.0
                    for a, k in zip(asked, figures.kept, strict=True)
                ]
            )
            if part == "all":
                covered = [a.answered[name].ranking.covered for a in asked]
                found["coverage@10"] = round(float(np.mean(covered)) / max(items, 1), 5)
            rows[name] = found
        out[part] = {"questions": len(figures), "methods": rows}
    out["coverage of"] = COVERING
    return out


@dataclass(frozen=True, slots=True)
class Claim:
    """`method` leads `against` by at least `share` of its HR@10 on a slice."""

    text: str
    method: str
    against: tuple[str, ...]
    """Methods, of which the best one counts"""
    part: Slice
    share: float


def claims(asked: Sequence[Asked]) -> list[Claim]:
    """What the methods are held to, as far as they are there."""
    inputs = tuple(methods_of(asked, "input"))
    baselines = tuple(methods_of(asked, "baseline"))
    there = set(methods_of(asked))
    served = RANKED if RANKED in there else MERGED
    wanted = [
        Claim("hybrid beats its best single input", HYBRID, inputs, "all", 0.0),
        Claim("hybrid beats its best single input on cold items", HYBRID, inputs, "cold", 0.0),
        Claim("hybrid leads the trained linear concat", HYBRID, (LINEAR,), "all", 0.057),
        Claim("hybrid leads the linear concat on cold items", HYBRID, (LINEAR,), "cold", 0.10),
        Claim("hybrid holds the linear concat's warm items", HYBRID, (LINEAR,), "warm", -0.01),
        Claim("hybrid leads text alone on warm items", HYBRID, ("text",), "warm", 0.10),
        Claim("merge leads the best simple baseline", MERGED, baselines, "all", 0.05),
        Claim("merge leads implicit's ALS", MERGED, (IMPLICIT,), "all", 0.25),
        Claim("merge leads implicit's ALS, visitor from seeds", MERGED, (FOLD_IN,), "all", 0.25),
        Claim("merge leads implicit's ALS, known visitor", MERGED, (KNOWN_VISITOR,), "all", 0.25),
    ]
    if served == RANKED:
        wanted.append(
            Claim("ranked leads the best simple baseline", RANKED, baselines, "all", 0.05)
        )
    return [c for c in wanted if c.method in there and any(a in there for a in c.against)]


def verdicts(asked: Sequence[Asked], seed: int) -> list[dict[str, Any]]:
    """Each claim with its figure: passed where the lead reaches the share and is beyond chance.

    A claim of holding (a negative share) passes by its mean alone.
    """
    by_slice = {part: Figures(asked, part, seed) for part in SLICES}
    there = set(methods_of(asked))
    out = []
    for claim in claims(asked):
        figures = by_slice[claim.part]
        other = figures.best([a for a in claim.against if a in there])
        if other is None:
            continue
        lead = figures.lead(claim.method, other)
        relative = lead["relative"]
        enough = relative is not None and relative[0] >= claim.share
        beyond = lead["difference"][1] > 0
        if relative is None:  # the other never hit
            enough = lead["difference"][0] > 0
        out.append(
            {
                "claim": claim.text,
                "method": claim.method,
                "against": other,
                "slice": claim.part,
                "measure": HEADLINE,
                "wanted": claim.share,
                **lead,
                "excludes zero": beyond,
                "passed": bool(enough and (beyond or claim.share < 0)),
            }
        )
    return out
