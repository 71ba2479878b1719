"""Ranking metrics by query, on ragged columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.rerank.lambdamart import GAINS
from kindred.retrieval.segments import owners_of, segment_sum
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows

MISSED = 10**6
"""Rank of what is not in a list."""


def first_ranks(candidates: Candidates, grades: NDArray[np.int8], missing: int) -> Rows:
    """int64[Q]: 1-based place of the first graded candidate, `missing` where there is none."""
    ranks = np.full(candidates.query_count, missing, np.int64)
    hit = np.flatnonzero(grades > 0)
    np.minimum.at(ranks, candidates.queries[hit], candidates.ranks[hit] + 1)
    return ranks


def ndcg(
    candidates: Candidates,
    grades: NDArray[np.int8],
    ideal_offsets: Rows,
    ideal_grades: NDArray[np.int8],
    k: int,
) -> Doubles:
    """float64[Q]: NDCG@k against the best order of all that followed, recalled or not."""
    gains = np.asarray(GAINS, np.float64)
    ranks = candidates.ranks
    value = np.where(ranks < k, gains[grades] / np.log2(ranks + 2.0), 0.0)
    owners = owners_of(ideal_offsets)
    order = np.lexsort((-ideal_grades, owners))
    places = np.arange(len(order)) - ideal_offsets[owners]
    best = np.where(places < k, gains[ideal_grades[order]] / np.log2(places + 2.0), 0.0)
    ideal: Doubles = np.maximum(segment_sum(best, ideal_offsets), 1e-12)
    gained: Doubles = segment_sum(value, candidates.offsets)
    return gained / ideal


def tied_ranks(scores: NDArray[np.floating], offsets: Rows) -> Doubles:
    """float64[n]: 1-based place of each entry in its list by falling score; ties share the mean.

    NaN scores come last.
    """
    order, run = _tied(scores, offsets)
    places = np.arange(len(order)) - offsets[owners_of(offsets)[order]]
    mean = np.bincount(run, places) / np.maximum(np.bincount(run), 1)
    ranks = np.empty(len(order))
    ranks[order] = mean[run] + 1
    return ranks


def _tied(scores: NDArray[np.floating], offsets: Rows) -> tuple[Rows, Rows]:
    """(order, run): entries by list and falling score, and which run of equal scores each is of."""
    owners = owners_of(offsets)
    values = np.nan_to_num(scores.astype(np.float64), nan=-np.inf, neginf=-np.inf)
    order = np.lexsort((-values, owners))
    owner, value = owners[order], values[order]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (owner[1:] != owner[:-1]) | (value[1:] != value[:-1])
    return order, np.cumsum(fresh) - 1


def tied_discounts(scores: NDArray[np.floating], offsets: Rows, k: int) -> Doubles:
    """float64[n]: 1 / log2(1 + place) up to place k, else 0; ties share the mean of their places'.

    What an order that breaks ties at random is worth on average (McSherry and Najork 2008). The
    discount of the mean place would be more: fifteen equal scores would all stand on place 8.
    """
    order, run = _tied(scores, offsets)
    places = np.arange(len(order)) - offsets[owners_of(offsets)[order]]
    worth = np.where(places < k, 1 / np.log2(places + 2.0), 0.0)
    mean = np.bincount(run, worth) / np.maximum(np.bincount(run), 1)
    found = np.empty(len(order))
    found[order] = mean[run]
    return found


def purchase_rank(ranks: Doubles, bought: Mask, offsets: Rows) -> Doubles:
    """float64[L]: mean rank of the bought items of each list, NaN where none was (SPEC B11)."""
    sums = segment_sum(np.where(bought, ranks, 0.0), offsets)
    counts = segment_sum(bought.astype(np.float64), offsets)
    found: Doubles = np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)
    return found


def purchase_mrr(ranks: Doubles, bought: Mask, offsets: Rows) -> Doubles:
    """float64[L]: 1 / the best rank of a bought item, NaN where none was."""
    best = np.full(len(offsets) - 1, np.inf)
    np.minimum.at(best, owners_of(offsets)[bought], ranks[bought])
    return np.where(np.isfinite(best), 1.0 / best, np.nan)


def shown_ndcg(
    scores: NDArray[np.floating], labels: NDArray[np.int8], offsets: Rows, k: int
) -> Doubles:
    """float64[L]: NDCG@k of shown lists by falling score, NaN where every label is 0 (it would
    count as 1)."""
    gains = np.asarray(GAINS, np.float64)[labels]
    gained = segment_sum(gains * tied_discounts(scores, offsets, k), offsets)
    owners = owners_of(offsets)
    order = np.lexsort((-gains, owners))
    places = np.arange(len(order)) - offsets[owners]
    best = segment_sum(np.where(places < k, gains[order] / np.log2(places + 2.0), 0.0), offsets)
    return np.where(best > 0, gained / np.maximum(best, 1e-12), np.nan)


def paired_interval(
    differences: Doubles, clusters: NDArray[np.integer], seed: int, resamples: int = 1000
) -> tuple[float, float, float]:
    """(mean, low, high): 95 % bootstrap interval of a mean difference, resampling whole clusters.

    A visitor's queries resemble each other, so visitors are drawn, not queries.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster, differences)
    sizes = np.bincount(cluster).astype(np.float64)
    rng = np.random.default_rng(seed)
    n = len(sums)
    means = np.empty(resamples)
    for start in range(0, resamples, 50):
        draws = rng.integers(0, n, (min(50, resamples - start), n))
        means[start : start + len(draws)] = sums[draws].sum(1) / sizes[draws].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)
