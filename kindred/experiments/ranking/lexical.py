"""BM25 over a field of texts, as sparse columns (Robertson and Zaragoza 2009).

What a search engine's text field scores, so that a ranker has something real to beat and to build
on. Words are folded and lose their plural; nothing else is known of a language.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kindred.schemas.ranking import Doubles, Rows

K1, B = 1.2, 0.75
"""Saturation of a word's count, and how much a long text is held against it."""
_WORDS = re.compile(r"\w+")
_SHORTEST = 4
"""Words of fewer letters keep their s: `gps`, `ps4`, `bus`."""


def words_of(text: str) -> list[str]:
    """Folded words without their plural: `Batteries` → `battery`, `Headphones` → `headphone`."""
    return [singular(word) for word in _WORDS.findall(text.casefold())]


def singular(word: str) -> str:
    """A word without its plural, by English spelling alone."""
    if len(word) < _SHORTEST or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > _SHORTEST:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1]


@dataclass(frozen=True, slots=True, eq=False)
class Bm25:
    """One field of n texts; a score is the sum over the query's words."""

    weights: sparse.csr_matrix
    """float32[n, W]: what each word of a text is worth"""
    places: dict[str, int]
    """Word -> column"""
    idf: Doubles
    """float64[W]: ln(1 + (n − df + ½) / (df + ½))"""

    @classmethod
    def of(cls, texts: Sequence[str]) -> Bm25:
        """The field with these texts."""
        places: dict[str, int] = {}
        columns: list[int] = []
        lengths = np.empty(len(texts), np.int64)
        for at, text in enumerate(texts):
            words = words_of(text)
            lengths[at] = len(words)
            columns.extend(places.setdefault(word, len(places)) for word in words)
        rows = np.repeat(np.arange(len(texts)), lengths)
        shape = (len(texts), max(len(places), 1))
        counts = sparse.csr_matrix((np.ones(len(columns)), (rows, columns)), shape=shape)
        counts.sum_duplicates()
        df = np.bincount(counts.indices, minlength=shape[1])
        idf = np.log1p((len(texts) - df + 0.5) / (df + 0.5))
        long = lengths / max(float(lengths.mean()), 1e-9)
        owner = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
        tf = counts.data
        counts.data = idf[counts.indices] * tf * (K1 + 1) / (tf + K1 * (1 - B + B * long[owner]))
        return cls(counts.astype(np.float32), places, idf)

    def asked(self, queries: Sequence[str]) -> sparse.csr_matrix:
        """float32[Q, W]: how often each query names each word of the field."""
        found = [
            (at, self.places[word])
            for at, query in enumerate(queries)
            for word in words_of(query)
            if word in self.places
        ]
        at, column = np.array(found, np.int64).reshape(-1, 2).T
        shape = (len(queries), self.weights.shape[1])
        return sparse.csr_matrix((np.ones(len(at), np.float32), (at, column)), shape=shape)

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """float32[Q, n]: 0 where no word is shared."""
        dense = (self.asked(queries) @ self.weights.T).toarray()
        return np.asarray(dense, np.float32)

    def pairs(self, queries: Sequence[str], query: Rows, row: Rows) -> NDArray[np.float32]:
        """float32[m]: the score of text `row[i]` for query `query[i]`."""
        product = self.asked(queries)[query].multiply(self.weights[row])
        return np.asarray(product.sum(axis=1), np.float32).ravel()


def by_best_field(fields: Sequence[Bm25], queries: Sequence[str]) -> NDArray[np.float32]:
    """float32[Q, n]: every word of a query counts by the field where it is worth most.

    A search engine's query of several fields (Lucene's disjunction max). Said in the title and
    again in the description, a word is not said twice.
    """
    words = sorted({word for query in queries for word in words_of(query)})
    rows = fields[0].weights.shape[0]
    worth = np.zeros((len(words), rows), np.float32)
    for field in fields:
        known = [at for at, word in enumerate(words) if word in field.places]
        columns = [field.places[words[at]] for at in known]
        worth[known] = np.maximum(worth[known], field.weights.tocsc()[:, columns].T.toarray())
    place = {word: at for at, word in enumerate(words)}
    asked = np.zeros((len(queries), len(words)), np.float32)
    for at, query in enumerate(queries):
        for word in words_of(query):
            asked[at, place[word]] += 1
    return np.asarray(asked @ worth)
