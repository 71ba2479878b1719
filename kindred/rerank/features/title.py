"""Words of the candidate's title against the seed's and the session's, rare ones first.

BM25 (Robertson and Zaragoza 2009) with the seed's title as the question. Titles are short and name
a word once, so term frequency is 1 throughout.
"""

from __future__ import annotations

import numpy as np

from kindred.indexer.traits import WIDTHS, Hashes
from kindred.rerank.features.attributes import counts, met
from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.retrieval.queries import Queries
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows

K1, B = 1.2, 0.75
WORD_BITS = 32
SIEVE = 1 << 12
"""Words that leave another remainder than all of the session's are not looked up."""
ONES = np.ones(WIDTHS["words"], np.float32)


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    idf_of = context.corpus.word_weights
    if idf_of is None:
        out[:] = np.nan
        return
    anchor = context.queries.anchor.words
    words = context.corpus.columns.words.take(context.rows, axis=0)
    idf = idf_of(words)
    all_of_it = idf @ ONES
    shared = (met(words, anchor, context.owners) * idf) @ ONES
    asked = context.of_query(idf_of(anchor) @ ONES)
    length = counts(words != 0) / np.float32(max(idf_of.mean_length, 1e-9))
    out[:, 0] = shared * (K1 + 1) / (1 + K1 * (1 - B + B * length))
    out[:, 1] = shared / np.maximum(all_of_it + asked - shared, 1e-9)
    out[(all_of_it == 0) | (asked == 0), :2] = np.nan
    lengths, seeds = context.queries.lengths, context.queries.anchor.row
    if lengths.min() == lengths.max() == 1 and seeds.min() >= 0:
        said = shared
        asks = asked > 0
    else:
        said, asks = said_in_session(context, words, idf)
    out[:, 2] = np.where((all_of_it > 0) & asks, said / np.maximum(all_of_it, 1e-9), np.nan)


def said_in_session(context: Context, words: Hashes, idf: Floats) -> tuple[Floats, Mask]:
    """(float32[n]: idf of each word times the share of the seeds that say it, bool[n]: any do)."""
    keys, shares, speak = session_words(context.queries, context.corpus.columns.words)
    if not len(keys):
        return np.zeros(len(words), np.float32), np.zeros(len(words), np.bool_)
    perhaps = np.zeros(SIEVE, np.bool_)
    perhaps[keys % SIEVE] = True
    at, place = perhaps.take(words % np.uint32(SIEVE)).nonzero()
    asked = (context.owners[at] << WORD_BITS) + words[at, place]
    found = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    worth = np.where(keys[found] == asked, shares[found], 0.0) * idf[at, place]
    said = np.bincount(at, worth, len(words)).astype(np.float32)
    return said, context.of_query(speak)


def session_words(queries: Queries, words: Hashes) -> tuple[Rows, Doubles, Mask]:
    """(int64[m] rising query << 32 | word, float64[m] in (0, 1], bool[Q] whether seeds have any).

    The second is the weight share of the query's titled seeds that say the word.
    """
    titles = words[queries.seeds]
    titled = titles[:, 0] != 0
    totals = np.bincount(queries.owners, queries.weights * titled, len(queries))
    at, place = np.nonzero(titles)
    owners = queries.owners[at]
    keys, inverse = np.unique((owners << WORD_BITS) + titles[at, place], return_inverse=True)
    shares = np.bincount(inverse, queries.weights[at] / totals[owners], len(keys))
    return keys.astype(np.int64), shares.astype(np.float64), totals > 0


GROUP = FeatureGroup(
    "title",
    (
        Feature(
            "title_bm25", "BM25 of the candidate's title for the words of the newest seed's",
            "points", "catalogue, seed", "names the same model, author or maker",
        ),
        Feature(
            "title_overlap", "words in both titles, of those in either, weighed by rarity",
            "share", "catalogue, seed", "near 1: the same thing listed twice",
        ),
        Feature(
            "title_session",
            "of the candidate's title, what the session's titles say, by rarity and seed weight",
            "share", "catalogue, session", "the search that the visitor never typed",
        ),
    ),
    fill,
)  # fmt: skip
