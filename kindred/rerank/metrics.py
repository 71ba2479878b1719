"""Ranking metrics by query, on ragged columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.rerank.lambdamart import GAINS
from kindred.retrieval.segments import owners_of, segment_sum
from kindred.schemas.ranking import Candidates, Doubles, Rows

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
