"""What a known user cared about before this session: items, categories, brands, sellers, prices.

NaN for who is not logged in, and for users whom the last training did not know.
"""

from __future__ import annotations

import numpy as np

from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.rerank.features.relation import leaf_of, log_price
from kindred.rerank.features.shares import Weighted
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    out[:] = np.nan
    corpus, users = context.corpus, context.queries.users
    if users is None or not users.any():
        return
    if corpus.users is not None:
        vectors, known = corpus.users.vectors(users)
        asked = known[context.owners]
        if known.any():
            product = corpus.users.scores(vectors[context.owners], context.rows)
            trained = context.rows < len(corpus.users.items)
            out[:, 7] = np.where(asked & trained, product, np.nan)
    if corpus.tastes is None:
        return
    owners, rows, weights = corpus.tastes.lookup(users)
    held = rows < corpus.columns.size
    past = Weighted(owners[held], rows[held], weights[held], len(users))
    if len(past.rows):
        from_history(context, past, out)


def from_history(context: Context, past: Weighted, out: Floats) -> None:
    """The columns that the user's own items give."""
    columns, rows, owners = context.corpus.columns, context.rows, context.owners
    counts = np.bincount(past.owners, minlength=past.count).astype(np.float64)
    out[:, 0] = np.where(counts > 0, counts, np.nan)[owners]
    out[:, 1] = past.share(past.rows, rows, owners)
    top = columns.category[past.rows, 0]
    out[:, 2] = past.share(top, columns.category[rows, 0], owners)
    out[:, 3] = past.share(leaf_of(columns, past.rows), leaf_of(columns, rows), owners)
    out[:, 4] = past.share(columns.brand[past.rows], columns.brand[rows], owners)
    out[:, 5] = past.share(columns.seller[past.rows], columns.seller[rows], owners)
    usual = past.mean(log_price(columns, past.rows))
    out[:, 6] = log_price(columns, rows) - usual[owners]


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
