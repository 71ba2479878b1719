"""Next item: the last item of each later session, asked of every source, the merge and the ranker.

Everything that answers was made from events before the split; one query a session, intervals by
bootstrap over visitors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.experiments.baselines import Baseline
from kindred.rerank.examples import Examples
from kindred.rerank.funnel import Funnel, order, run
from kindred.rerank.metrics import MISSED, paired_interval
from kindred.rerank.training import CHUNK, as_queries
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import places_in_runs
from kindred.retrieval.sources import SOURCES, Entries
from kindred.schemas.ranking import Candidates, Doubles, Floats, Rows
from kindred.schemas.settings import RecallSettings

MERGED, RANKED = "merged (RRF)", "ranked"


@dataclass(frozen=True, slots=True)
class Ranking:
    """One method's answers: where each target stood, and what it ever recommended."""

    ranks: Rows
    """int64[Q], 1 = first"""
    covered: dict[int, int]
    """k -> distinct items among the first k of any answer"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Results by method, baselines first, and how the ranked answer compares."""

    queries: int
    items: int
    served: str
    """The method that answers: the ranked one, or the merge where no ranker passed its gate"""
    methods: dict[str, dict[str, Any]]
    differences: dict[str, dict[str, Any]]
    """the served method minus another, at the first k"""


def evaluate(
    funnel: Funnel,
    examples: Examples,
    baselines: Mapping[str, Baseline],
    ks: Sequence[int],
    action_weights: Floats,
    *,
    repeats: bool,
    seed: int,
    on_queries: Callable[[int], None],
) -> Report:
    """Ask every method every query; `examples` hold one target each."""
    rankings = rank_targets(
        funnel, examples, baselines, ks, action_weights, repeats=repeats, on_queries=on_queries
    )
    active = int(funnel.corpus.columns.active.sum())
    methods = {
        name: {
            "kind": "baseline" if name in baselines else "source" if name in SOURCES else "funnel",
            **summary(ranking, ks, active, examples.subject, seed),
        }
        for name, ranking in rankings.items()
    }
    first = ks[0]
    served = RANKED if RANKED in rankings else MERGED
    others = {
        "best single source": best(methods, "source", first),
        "best simple baseline": best(methods, "baseline", first),
        "merge": MERGED,
    }
    differences = {
        label: {
            "method": name,
            **difference(rankings[served], rankings[name], first, examples.subject, seed),
        }
        for label, name in others.items()
        if name is not None and name != served
    }
    return Report(
        queries=len(examples), items=active, served=served, methods=methods,
        differences=differences,
    )  # fmt: skip


def rank_targets(
    funnel: Funnel,
    examples: Examples,
    baselines: Mapping[str, Baseline],
    ks: Sequence[int],
    action_weights: Floats,
    *,
    repeats: bool,
    on_queries: Callable[[int], None],
) -> dict[str, Ranking]:
    """Every method's ranks of the targets, `CHUNK` queries at a time."""
    ranks: dict[str, list[Rows]] = {}
    shown: dict[tuple[str, int], list[Rows]] = {}
    for start in range(0, len(examples), CHUNK):
        part = examples.take(np.arange(start, min(start + CHUNK, len(examples))))
        queries = as_queries(part, funnel, action_weights, repeats=repeats)
        for name, answer in answers(funnel, queries, baselines, max(ks)):
            hit = answer.rows == part.followed[answer.queries]
            rank = np.full(len(part), MISSED, np.int64)
            rank[answer.queries[hit]] = answer.ranks[hit]
            ranks.setdefault(name, []).append(rank)
            for k in ks:
                shown.setdefault((name, k), []).append(np.unique(answer.rows[answer.ranks <= k]))
        on_queries(len(part))
    return {
        name: Ranking(
            np.concatenate(parts),
            {k: len(np.unique(np.concatenate(shown[name, k]))) for k in ks},
        )
        for name, parts in ranks.items()
    }


@dataclass(frozen=True, slots=True)
class RankedEntries:
    """Entries with their 1-based rank within their query."""

    queries: Rows
    rows: Rows
    ranks: Rows


def answers(
    funnel: Funnel, queries: Queries, baselines: Mapping[str, Baseline], depth: int
) -> Iterator[tuple[str, RankedEntries]]:
    """Every method's answer to a batch."""
    for name, baseline in baselines.items():
        yield name, ranked_entries(baseline(queries, depth))
    whole = replace(funnel, recall=_unlimited(funnel))
    everything = run(whole, queries, k=depth, until="recall").candidates
    owners = everything.queries
    for s, name in enumerate(SOURCES):
        rank = everything.source_ranks[:, s].astype(np.int64)
        if (rank > 0).any():
            at = rank > 0
            yield name, RankedEntries(owners[at], everything.rows[at], rank[at])
    yield MERGED, ordered_entries(everything)
    if funnel.ranker is not None:
        served = everything.head(funnel.recall.candidates)
        yield (
            RANKED,
            ordered_entries(order(funnel, queries, served, k=depth, until="rank").candidates),
        )


def _unlimited(funnel: Funnel) -> RecallSettings:
    """Every candidate of every source, so that each can be judged alone."""
    return msgspec.structs.replace(funnel.recall, candidates=100_000)


def ordered_entries(candidates: Candidates) -> RankedEntries:
    """A list's own order as ranks."""
    return RankedEntries(candidates.queries, candidates.rows, candidates.ranks + 1)


def ranked_entries(entries: Entries) -> RankedEntries:
    """Entries that come best first within a query."""
    return RankedEntries(entries.queries, entries.rows, places_in_runs(entries.queries) + 1)


def metrics_at(ranks: Rows, k: int) -> dict[str, Doubles]:
    """float64[Q] each: hit, reciprocal rank and NDCG at k for one target a query."""
    hit = ranks <= k
    return {
        f"HR@{k}": hit.astype(np.float64),
        f"MRR@{k}": np.where(hit, 1.0 / ranks, 0.0),
        f"NDCG@{k}": np.where(hit, 1.0 / np.log2(ranks + 1.0), 0.0),
    }


def summary(
    ranking: Ranking, ks: Sequence[int], active: int, subject: NDArray[np.int32], seed: int
) -> dict[str, Any]:
    """Metrics with 95 % intervals, and coverage, at every k."""
    out: dict[str, Any] = {}
    for k in ks:
        for name, values in metrics_at(ranking.ranks, k).items():
            out[name] = [round(x, 5) for x in paired_interval(values, subject, seed)]
        out[f"coverage@{k}"] = round(ranking.covered[k] / max(active, 1), 5)
    found = ranking.ranks < MISSED
    out["found"] = round(float(found.mean()), 5)
    out["mean rank where found"] = (
        round(float(ranking.ranks[found].mean()), 2) if found.any() else None
    )
    return out


def best(methods: Mapping[str, dict[str, Any]], kind: str, k: int) -> str | None:
    """The method of a kind with the highest hit rate on these very queries."""
    names = [n for n, m in methods.items() if m["kind"] == kind]
    return max(names, key=lambda n: methods[n][f"HR@{k}"][0], default=None)


def difference(
    served: Ranking, other: Ranking, k: int, subject: NDArray[np.int32], seed: int
) -> dict[str, Any]:
    """HR@k and MRR@k of the served answer minus another method's, paired, with 95 % intervals."""
    mine, theirs = metrics_at(served.ranks, k), metrics_at(other.ranks, k)
    out: dict[str, Any] = {}
    for name in (f"HR@{k}", f"MRR@{k}"):
        mean, low, high = paired_interval(mine[name] - theirs[name], subject, seed)
        base = float(theirs[name].mean())
        out[name] = [round(x, 5) for x in (mean, low, high)]
        out[f"{name} relative"] = round(mean / base, 4) if base else None
        out[f"{name} excludes zero"] = low > 0
    return out
