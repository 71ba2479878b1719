"""What a choice is worth: the same stage trained otherwise, asked the same questions.

AIR's loss against triplets and against a softmax without the correction for frequent items (SPEC
§6.1, B6); the factors' confidence from counts against one for every cell (A1b).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kindred.experiments.representations.answers import Ranking, by_space, rank_all
from kindred.experiments.representations.clusters import Clusters
from kindred.experiments.representations.simple import unit_table
from kindred.experiments.representations.split import Split
from kindred.experiments.representations.training import TRIPLETS, UNCORRECTED, Trained
from kindred.indexer.behaviour.als import train_als
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.store.tables import VectorTable
from kindred.retrieval.queries import Queries
from kindred.schemas.ranking import Mask, Rows
from kindred.schemas.settings import KindredSettings

BINARY = "als, every cell alike"
Reach = Literal["all", "head", "tail"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A stage as it is, held to itself trained otherwise."""

    text: str
    method: str
    against: str
    depth: int
    part: Reach
    share: float


CLAIMS = (
    Compared("AIR's corrected softmax leads triplets", "air", TRIPLETS, 100, "all", 0.05),
    Compared("the correction helps rare items", "air", UNCORRECTED, 100, "tail", 0.05),
    Compared("the correction holds frequent items", "air", UNCORRECTED, 100, "head", -0.03),
    Compared("counts as confidence lead cells alike", "als", BINARY, 10, "all", 0.05),
)


@dataclass(frozen=True, slots=True)
class Tried:
    """One seed's ranks by method."""

    subject: Rows
    tail: Mask
    """bool[Q]: the answer is in the rarer half of the items that training knows, or unknown"""
    rankings: dict[str, Ranking]


def try_otherwise(
    split: Split,
    trained: Trained,
    queries: Queries,
    active: Mask,
    settings: KindredSettings,
    seed: int,
) -> Tried:
    """Ask the stages and what they were trained as otherwise."""
    size = len(active)
    tables: dict[str, VectorTable] = {
        name: table for name, table in trained.spaces().items() if name in ("air", "als")
    }
    tables |= {n: t for n, t in trained.variant_spaces().items() if n in (TRIPLETS, UNCORRECTED)}
    if "als" in tables:
        alike = train_als(
            each_once(split.log), size, settings.als, settings.signals, seed,
            settings.representations.threads,
        )  # fmt: skip
        tables[BINARY] = unit_table(alike.items, alike.present)
    counts = np.bincount(split.log.row, minlength=size)
    middle = np.median(counts[counts > 0]) if counts.any() else 0
    rankings = {
        name: rank_all(by_space(queries, name, table, size), split.questions, active)
        for name, table in tables.items()
    }
    rare = counts[split.questions.followed] <= middle
    return Tried(split.questions.subject.astype(np.int64), rare, rankings)


def each_once(log: Interactions) -> Interactions:
    """The first event of each visitor with each item: every cell then counts the same."""
    key = log.subject.astype(np.int64) * (int(log.row.max(initial=0)) + 1) + log.row
    return log.take(np.sort(np.unique(key, return_index=True)[1]))


def ablation_verdicts(tried: Sequence[Tried], seed: int) -> list[dict[str, Any]]:
    """Each claim with its figure, as the main table's verdicts are."""
    out = []
    for claim in CLAIMS:
        if not all(claim.method in t.rankings and claim.against in t.rankings for t in tried):
            continue
        kept = [_part(t.tail, claim.part) for t in tried]
        subject = np.concatenate([t.subject[k] for t, k in zip(tried, kept, strict=True)])
        if not len(subject):
            continue
        mine, theirs = (
            np.concatenate(
                [
                    (t.rankings[name].ranks[k] <= claim.depth).astype(np.float64)
                    for t, k in zip(tried, kept, strict=True)
                ]
            )
            for name in (claim.method, claim.against)
        )
        lead = Clusters(subject.astype(np.int32), seed).interval(mine - theirs)
        base = float(theirs.mean())
        relative = [round(x / base, 5) for x in lead] if base else None
        enough = lead[0] > 0 if relative is None else relative[0] >= claim.share
        out.append(
            {
                "claim": claim.text,
                "method": claim.method,
                "against": claim.against,
                "slice": claim.part,
                "measure": f"HR@{claim.depth}",
                "wanted": claim.share,
                "means": [round(float(mine.mean()), 5), round(base, 5)],
                "difference": [round(x, 5) for x in lead],
                "relative": relative,
                "excludes zero": lead[1] > 0,
                "passed": bool(enough and (lead[1] > 0 or claim.share < 0)),
            }
        )
    return out


def _part(tail: Mask, part: Reach) -> Mask:
    return {"all": np.ones(len(tail), np.bool_), "head": ~tail, "tail": tail}[part]
