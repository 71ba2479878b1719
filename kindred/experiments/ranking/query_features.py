"""What a ranker knows of a query and a document: words, letters, meaning, and what the best share.

Every feature is a matrix of queries by documents, made of the texts alone: no grade enters. Half of
them are relevance feedback without relevance: how much a document resembles the first ones that
words and meaning find together, or meaning alone (Rocchio 1971), which tells a mouse from a mouse
pad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from kindred.experiments.ranking.judgments import Documents
from kindred.experiments.ranking.lexical import Bm25, by_best_field, words_of
from kindred.schemas.ranking import Doubles, Floats, Rows

BM25, TEXT, FIELDS = "bm25", "text", "bm25 by field"
FIRST, FEW, MANY = 5, 10, 50
"""Documents that count as the best."""
FED_BACK = 0.5
"""Weight of the mean of the best beside the query itself."""
LETTERS = (3, 5)
"""Lengths of the letter sequences."""
EITHER_WAY = frozenset(
    ("place by bm25", "place by text", "brand named", "off the best's price", "age", "words")
)
"""Features of which more may speak for a document or against it: more of any other never speaks
against it."""
PROSE = 300
"""Characters of a description that words and letters are taken from."""


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Q queries by N documents."""

    of: Mapping[str, Floats]
    """Name -> float32[Q, N]"""

    def __getitem__(self, name: str) -> Floats:
        return self.of[name]

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of `columns`."""
        return tuple(self.of)

    def columns(self, query: Rows, row: Rows) -> Floats:
        """float32[n, F] of the pairs."""
        return np.stack([matrix[query, row] for matrix in self.of.values()], axis=1)


def signals_of(
    documents: Documents, queries: Sequence[str], vectors: Floats, asked: Floats
) -> Signals:
    """All features; `vectors` float32[N, d] and `asked` float32[Q, d] are of unit length."""
    prose = [told[:PROSE] for told in documents.description]
    texts = [f"{title} {told}" for title, told in zip(documents.title, prose, strict=True)]
    field, title = Bm25.of(texts), Bm25.of(documents.title)
    bm25, text = field.scores(queries), np.asarray(asked @ vectors.T, np.float32)
    best = np.argsort(-(standard(bm25) + standard(text)), axis=1, kind="stable")
    meant = np.argsort(-text, axis=1, kind="stable")[:, :FEW]
    attributes = _attributes(documents)
    found: dict[str, Floats | Doubles] = {
        BM25: bm25,
        TEXT: text,
        FIELDS: by_best_field([title, Bm25.of(prose)], queries),
        "bm25 of the title": title.scores(queries),
        "place by bm25": _places(bm25),
        "place by text": _places(text),
        "letters shared": _letters(texts, queries),
        "words covered": _covered(field, queries),
        "brand named": _brand(documents.supplier, queries),
        "attributes of the best": _resembling(attributes, best[:, :FEW]),
        "attributes of the best by text": _resembling(attributes, meant),
        "text of the first": _centroid(vectors, best[:, :FIRST]),
        "text of the best": _centroid(vectors, best[:, :MANY]),
        "text of the best by text": _centroid(vectors, meant),
        "text fed back": _fed_back(vectors, asked, meant),
        "off the best's price": _price(documents.price, best[:, :FEW]),
        "age": _every(documents.released, queries),
        "words": _every(np.log1p([len(words_of(told)) for told in texts]), queries),
    }
    return Signals({name: np.asarray(matrix, np.float32) for name, matrix in found.items()})


def standard(scores: Floats) -> Doubles:
    """float64[Q, N]: less the query's mean, over its standard deviation."""
    centred = scores - scores.mean(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-9))


def _places(scores: Floats) -> Doubles:
    """ln(1 + place) by falling score; what scores nothing comes last together."""
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.empty(order.shape)
    np.put_along_axis(places, order, np.arange(scores.shape[1], dtype=np.float64)[None], axis=1)
    places[scores <= 0] = scores.shape[1]
    return np.log1p(places)


def _letters(texts: Sequence[str], queries: Sequence[str]) -> Floats:
    """Cosine of TF-IDF over letter sequences: finds `headset` for `head set`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    table = TfidfVectorizer(
        analyzer="char_wb", ngram_range=LETTERS, sublinear_tf=True, dtype=np.float32
    )
    known = table.fit_transform(texts)
    return np.asarray((table.transform(queries) @ known.T).toarray())


def _covered(field: Bm25, queries: Sequence[str]) -> Doubles:
    """Share of the query's words that the document has."""
    asked = field.asked(queries)
    there = (asked > 0).astype(np.float32) @ (field.weights > 0).astype(np.float32).T
    lengths = np.array([len(set(words_of(query))) for query in queries], np.float64)
    return np.asarray(there.toarray() / np.maximum(lengths, 1)[:, None])


def _brand(suppliers: Sequence[str], queries: Sequence[str]) -> Doubles:
    """1 where the query names the whole of the supplier."""
    names, of = np.unique(np.array(suppliers, object).astype(str), return_inverse=True)
    words = [set(words_of(name)) for name in names]
    asked = [set(words_of(query)) for query in queries]
    named = np.array([[bool(w) and w <= q for w in words] for q in asked], np.float64)
    return np.asarray(named[:, of])


def _attributes(documents: Documents) -> sparse.csr_matrix:
    """float32[N, A]: TF-IDF of the names of attributes: a camera has a sensor, its bag has none."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = [list(told) for told in documents.attributes]
    if not any(names):
        return sparse.csr_matrix((len(documents), 1), dtype=np.float32)
    table = TfidfVectorizer(analyzer=_as_is, sublinear_tf=True, dtype=np.float32)
    return table.fit_transform(names).tocsr()


def _resembling(table: sparse.csr_matrix, best: Rows) -> Floats:
    """Cosine of a document's row to the sum over the best."""
    rows = np.repeat(np.arange(len(best)), best.shape[1])
    chosen = sparse.csr_matrix(
        (np.ones(best.size, np.float32), (rows, best.ravel())), shape=(len(best), table.shape[0])
    )
    summed = np.asarray((chosen @ table).todense())
    summed /= np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-9)
    return np.asarray((table @ summed.T).T, np.float32)


def _as_is(names: list[str]) -> list[str]:
    return names


def _centroid(vectors: Floats, best: Rows) -> Floats:
    """Cosine to the mean vector of the best."""
    mean = vectors[best].mean(axis=1)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    return np.asarray(mean @ vectors.T, np.float32)


def _fed_back(vectors: Floats, asked: Floats, best: Rows) -> Floats:
    """Cosine to the query moved towards the mean vector of the best."""
    moved = asked + FED_BACK * vectors[best].mean(axis=1)
    moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9)
    return np.asarray(moved @ vectors.T, np.float32)


def _price(price: Doubles, best: Rows) -> Doubles:
    """|ln(price / median price of the best)|; NaN where either is unknown."""
    log = np.log(np.where(price > 0, price, np.nan))
    with np.errstate(all="ignore"):
        middle = np.nanmedian(log[best], axis=1)
    return np.asarray(np.abs(log[None, :] - middle[:, None]))


def _every(column: Doubles, queries: Sequence[str]) -> Doubles:
    """The same for every query."""
    return np.repeat(np.asarray(column, np.float64)[None, :], len(queries), axis=0)
