"""What a known user cared about before this session: items, categories, brands, sellers, prices.

NaN for who is not logged in, and for users whom the last training did not know.
"""

from __future__ import annotations

import numpy as np

from kindred.rerank.features.facts import Facts
from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.rerank.features.shares import Weighted, rows_of
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    out[:] = np.nan
    corpus, users = context.corpus, context.queries.users
    if users is None or not users.any():
        return
    if corpus.users is not None:
        vectors, known = corpus.users.vectors(users)
        if known.any():
            product = corpus.users.scores(context.of_query(vectors), context.rows)
            trained = context.rows < len(corpus.users.items)
            out[:, 7] = np.where(context.of_query(known) & trained, product, np.nan)
    if corpus.tastes is None:
        return
    owners, rows, weights = corpus.tastes.lookup(users)
    held = rows < corpus.columns.size
    past = Weighted(owners[held], rows[held], weights[held], len(users))
    if len(past.rows):
        from_history(context, past, out)


def from_history(context: Context, past: Weighted, out: Floats) -> None:
    """The columns that the user's own items give."""
    theirs, mine = context.facts, Facts(context.corpus.columns, past.rows)
    counts = np.bincount(past.owners, minlength=past.count).astype(np.float64)
    out[:, 0] = context.of_query(np.where(counts > 0, counts, np.nan))
    held, asked = (
        rows_of(f.rows, f.category[0], f.leaf, f.brand, f.seller) for f in (mine, theirs)
    )
    out[:, 1:6] = past.shares(held, asked, context.owners).T
    out[:, 6] = theirs.log_price - context.of_query(past.mean(mine.log_price))


def _share(what: str, meaning: str, why: str) -> Feature:
    return Feature(f"user_{what}", meaning, "share", "user's history, catalogue", why)


GROUP = FeatureGroup(
    "affinity",
    (
        Feature(
            "user_items", "items that are kept of the user's history", "count", "user's history",
            "how much the other columns rest on",
        ),
        _share("item", "of the user's history, by worth and age, this very item",
               "groceries are bought again, cars are not"),
        _share("top_category", "of the user's history, the candidate's top category",
               "a lasting interest"),
        _share("leaf_category", "of the user's history, the candidate's leaf category",
               "a lasting interest, narrowly"),
        _share("brand", "of the user's history, the candidate's brand", "loyalty to a maker"),
        _share("seller", "of the user's history, the candidate's seller", "trust in a seller"),
        Feature(
            "user_price_gap", "ln of the candidate's price over the mean of the user's items",
            "ln ratio", "user's history, catalogue", "what this user is used to pay",
        ),
        Feature(
            "user_product", "product of the user's and the candidate's factors", "points",
            "factorisation", "what users alike act on",
        ),
    ),
    fill,
)  # fmt: skip
