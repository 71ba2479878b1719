"""Baselines that score every item: EASE, TF-IDF, implicit's ALS, factors with popularity.

They see what the representations see. What has to be chosen is chosen on the newest part of the
training events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kindred.experiments.representations.answers import Scores, rank_all, spread
from kindred.experiments.representations.split import Asking, make_split
from kindred.indexer.behaviour.ease import ease_weights, frequent, gram_of
from kindred.indexer.behaviour.interactions import Codes, Interactions
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.examples import Examples
from kindred.retrieval.queries import Queries
from kindred.schemas.ranking import Floats, Mask, Rows

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares

EASE_ITEMS = 6_000
"""Most frequent items that EASE knows: its matrix is inverted whole."""
EASE_PENALTIES = (20.0, 100.0, 500.0, 2000.0)
DEVELOPMENT = 0.1
"""Newest share of the training events that the choices are made on."""
DEVELOPMENT_QUESTIONS = 2_000
POPULARITY = 0.1
"""Weight of the log-count beside the cosine of factors (SPEC §6.0, M5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ease:
    """Linear weights between items (Steck 2019): B = −P / diag(P), P = (XᵀX + λI)⁻¹, diagonal 0."""

    items: Rows
    """int64[m]: the rows known"""
    weights: Floats
    """float32[m, m]: how much having i says for j"""
    penalty: float
    by: str
    """`visit` or `visitor`: what makes a row of X"""
    recent: bool
    """Whether newer seeds weigh more"""

    def scores(self, queries: Queries, size: int) -> Scores:
        """Σ over the seeds of their weights; -inf for rows not known."""
        place = np.full(size, -1, np.int64)
        place[self.items] = np.arange(len(self.items))
        known = place[queries.seeds] >= 0
        values = queries.weights if self.recent else np.ones(len(queries.seeds), np.float32)
        asked = sparse.csr_matrix(
            (values[known], (queries.owners[known], place[queries.seeds[known]])),
            shape=(len(queries), len(self.items)),
        )
        has = np.diff(asked.indptr) > 0

        def score(low: int, high: int) -> tuple[Floats, Mask]:
            scores = np.full((high - low, size), -np.inf, np.float32)
            scores[:, self.items] = asked[low:high] @ self.weights
            return scores, has[low:high]

        return score


def train_ease(
    log: Interactions, size: int, *, penalty: float, by: str, recent: bool, most: int = EASE_ITEMS
) -> Ease:
    """EASE on the `most` most frequent items of a log: every weight, whatever its sign."""
    items = frequent(log, size, most)
    weights = ease_weights(gram_of(log, size, items, by), penalty)
    return Ease(items=items, weights=weights, penalty=penalty, by=by, recent=recent)


Ask = Callable[[Examples], Queries]
"""The questions as recall gets them."""


def choose_ease(
    log: Interactions,
    active: Mask,
    asking: Asking,
    ask: Ask,
    *,
    seed: int,
    penalties: Sequence[float] = EASE_PENALTIES,
    most: int = EASE_ITEMS,
) -> tuple[Ease, dict[str, Any]]:
    """EASE with penalty, rows and seeds' weights of the best HR@10 on the newest part of `log`."""
    moment = int(log.ts[int((1 - DEVELOPMENT) * (len(log) - 1))]) if len(log) else 0
    trial = make_split(
        log, active, moment, seed=seed, questions=DEVELOPMENT_QUESTIONS, held_out=0.0,
        asking=asking,
    )  # fmt: skip
    size = len(active)
    queries = ask(trial.questions)
    lonely = len(np.unique(log.session)) == len(np.unique(log.subject))
    tried: dict[tuple[float, str, bool], float] = {}
    for by in ("visitor",) if lonely else ("visit", "visitor"):
        for penalty in penalties:
            made = train_ease(trial.log, size, penalty=penalty, by=by, recent=True, most=most)
            for recent in (True, False):
                scores = replace(made, recent=recent).scores(queries, size)
                ranks = rank_all(scores, trial.questions, active).ranks
                tried[penalty, by, recent] = float((ranks <= 10).mean()) if len(ranks) else 0.0
            del made
    penalty, by, recent = max(tried, key=lambda found: tried[found])
    facts = {
        "penalty": penalty, "rows": by, "newer seeds weigh more": recent,
        "development HR@10": round(tried[penalty, by, recent], 5),
        "development questions": len(trial.questions), "tried": len(tried),
    }  # fmt: skip
    chosen = train_ease(log, size, penalty=penalty, by=by, recent=recent, most=most)
    return chosen, facts


def tfidf_table(texts: Sequence[str]) -> sparse.csr_matrix | None:
    """N × words: unit rows of sublinear TF-IDF; None where there is no text."""
    if not any(texts):
        return None
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32).fit_transform(texts).tocsr()


def by_tfidf(queries: Queries, table: sparse.csr_matrix) -> Scores:
    """Cosine to the weighted sum of the seeds' rows."""
    size = table.shape[0]
    seeds = sparse.csr_matrix(
        (queries.weights, (queries.owners, queries.seeds)), shape=(len(queries), size)
    )
    asked = (seeds @ table).tocsr()
    length = np.sqrt(np.asarray(asked.multiply(asked).sum(axis=1)).ravel())
    has = length > 0
    silent = np.flatnonzero(np.diff(table.indptr) == 0)
    words = table.T.tocsc()

    def score(low: int, high: int) -> tuple[Floats, Mask]:
        scores: NDArray[Any] = (asked[low:high] @ words).toarray().astype(np.float32)
        scores /= np.maximum(length[low:high, None], 1e-9)
        scores[:, silent] = -np.inf
        return scores, has[low:high]

    return score


def train_implicit(log: Interactions, size: int, seed: int) -> AlternatingLeastSquares:
    """implicit's ALS with its own defaults on counts of visitor × item."""
    import threadpoolctl
    from implicit.cpu.als import AlternatingLeastSquares

    _, user = np.unique(log.subject, return_inverse=True)
    ones = np.ones(len(log), np.float32)
    counts = sparse.csr_matrix((ones, (user, log.row)), shape=(int(user.max(initial=-1)) + 1, size))
    with threadpoolctl.threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(random_state=seed)
        model.fit(counts, show_progress=False)
    return model


def unit_table(factors: Floats, known: Mask) -> VectorTable:
    """Directions of the factors of known rows."""
    rows = np.flatnonzero(known & factors.any(axis=1))
    table = VectorTable(factors.shape[1])
    table.set(rows, factors[rows] / np.linalg.norm(factors[rows], axis=1, keepdims=True))
    return table


def by_fold_in(queries: Queries, model: AlternatingLeastSquares, known: Mask) -> Scores:
    """Each query's own user vector from its seeds by the library, times the items' factors."""
    items = np.asarray(model.item_factors)
    ones = np.ones(len(queries.seeds), np.float32)
    asked = sparse.csr_matrix(
        (ones, (queries.owners, queries.seeds)), shape=(len(queries), len(items))
    )
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1, "blas"):
        users = np.asarray(model.recalculate_user(np.arange(len(queries)), asked))
    has = np.abs(users).max(axis=1, initial=0) > 0
    unknown = np.flatnonzero(~known)

    def score(low: int, high: int) -> tuple[Floats, Mask]:
        scores = users[low:high] @ items.T
        scores[:, unknown] = -np.inf
        return scores, has[low:high]

    return score


def by_known_visitor(
    log: Interactions, subject: Codes, model: AlternatingLeastSquares, known: Mask
) -> Scores:
    """The library's own factors of each visitor, from all that `log` has of them, times the items'.

    `subject` int32[Q] are codes of the log that the model was trained on; who has no event there is
    not answered. What merges know of who is logged in, this knows, too.
    """
    items, users = np.asarray(model.item_factors), np.asarray(model.user_factors)
    names = np.unique(log.subject)
    at = np.minimum(np.searchsorted(names, subject), max(len(names) - 1, 0))
    has = names[at] == subject if len(names) else np.zeros(len(subject), np.bool_)
    unknown = np.flatnonzero(~known)

    def score(low: int, high: int) -> tuple[Floats, Mask]:
        scores = users[at[low:high]] @ items.T
        scores[:, unknown] = -np.inf
        return scores, has[low:high]

    return score


def with_popularity(queries: Queries, table: VectorTable, counts: Rows, size: int) -> Scores:
    """Cosine of factors + 0.1 · log-count (SPEC §6.0, M5)."""
    matrix, present = spread(table, size)
    vectors, has = queries.vectors("als", table)
    bonus = (POPULARITY * np.log(np.maximum(counts, 1))).astype(np.float32)

    def score(low: int, high: int) -> tuple[Floats, Mask]:
        scores = vectors[low:high] @ matrix.T + bonus
        scores[:, ~present] = -np.inf
        return scores, has[low:high]

    return score
