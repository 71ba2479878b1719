"""A synthetic marketplace to measure with: made once for a size and a seed, then kept.

Items live in leaf categories and, within them, in styles; visits keep to one style. Text vectors
are drawn around the style instead of being encoded, which would take the packaged model minutes:
they cost a search what real ones cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.events.contract import event_columns
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.item import Campaign, Condition, Item, Location
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats
from kindred.schemas.workspace import Workspace

LEAVES = 200
STYLE = 25
"""Items of one style."""
DEPARTMENTS = ("home", "garden", "music", "sport", "toys", "books", "phones", "clothes")
KINDS = ("table", "lamp", "chair", "bag", "case", "set", "stand", "kit", "box", "frame")
WORDS = ("oak", "red", "small", "classic", "blue", "large", "steel", "soft", "old", "green")
CITIES = 20
VISIT = 6
"""Events of a visit."""
DAYS = 60
BATCH = 5_000
FROM_STYLE = 0.8
"""Share of a visit's items that come from its style; the others are bestsellers of the leaf."""


@dataclass(frozen=True, slots=True)
class Market:
    """Columns of n items."""

    leaf: NDArray[np.int64]
    style: NDArray[np.int64]
    appeal: NDArray[np.float64]
    """What draws visitors to an item besides its style"""

    def __len__(self) -> int:
        return len(self.leaf)


def draw_market(count: int, seed: int) -> Market:
    """`count` items spread over leaves and styles."""
    random = np.random.default_rng(seed)
    style = np.arange(count) // STYLE
    leaf = random.integers(0, LEAVES, style[-1] + 1)[style]
    return Market(leaf, style, random.pareto(1.5, count) + 0.1)


def write_market(
    workspace: Workspace, market: Market, seed: int, now: int, progress: Progress
) -> None:
    """Put the items into the catalogue and a visit for each item into the lake."""
    catalogue = Catalogue.open(workspace.catalogue)
    try:
        items = market_items(market, seed, now)
        with progress.task("items", len(market)) as done:
            while batch := list(islice(items, BATCH)):
                catalogue.upsert(batch)
                done(len(batch))
    finally:
        catalogue.close()
    with progress.task("events", len(market) * VISIT) as done:
        Lake(workspace.lake).append(_events(market, seed, now))
        done(len(market) * VISIT)


def market_items(market: Market, seed: int, now: int) -> Iterator[Item]:
    """The items of a market, in the order of its columns."""
    random = np.random.default_rng(seed + 1)
    n = len(market)
    city = np.column_stack([random.uniform(47, 60, CITIES), random.uniform(5, 25, CITIES)])
    place = city[random.integers(0, CITIES, n)] + random.normal(0, 0.2, (n, 2))
    price = np.exp(random.normal(8 + market.leaf % 7 / 3, 0.6)).astype(np.int64) + 100
    age = random.uniform(0, 365 * DAY, n).astype(np.int64)
    words = random.integers(0, len(WORDS), (n, 2))
    brand, seller = random.integers(0, 2_000, n), random.integers(0, 5_000, n)
    rate = np.where(random.random(n) < 0.1, random.integers(100, 1_500, n), 0)
    condition = random.integers(0, 4, n)
    conditions = tuple(Condition)
    for i in range(n):
        leaf, kind = int(market.leaf[i]), KINDS[market.leaf[i] % len(KINDS)]
        yield Item(
            item_id=f"item-{i}",
            title=f"{WORDS[words[i, 0]]} {WORDS[words[i, 1]]} {kind} {market.style[i]}-{i}",
            seller_id=f"seller-{seller[i]}",
            brand=f"brand {brand[i]}",
            category=(DEPARTMENTS[leaf % len(DEPARTMENTS)], kind, f"leaf {leaf}"),
            price_minor=int(price[i]),
            currency="EUR",
            condition=conditions[condition[i]],
            location=Location(lat=float(place[i, 0]), lon=float(place[i, 1])),
            created_at=now - int(age[i]) - HOUR,
            campaign=Campaign.PLS if rate[i] else Campaign.NONE,
            ad_rate_bp=int(rate[i]),
        )


def _events(market: Market, seed: int, now: int) -> pl.DataFrame:
    """Visits of views that end in a purchase, in columns of the event contract."""
    random = np.random.default_rng(seed + 2)
    n, visits = len(market), len(market)
    style = market.style[random.integers(0, n, visits)]
    near = _weighted(market.appeal, style[:, None] * STYLE, STYLE, (visits, VISIT), random)
    by_leaf = np.argsort(market.leaf, kind="stable")
    first = np.searchsorted(market.leaf[by_leaf], np.arange(LEAVES + 1))
    leaf = market.leaf[np.minimum(style * STYLE, n - 1)]
    width = np.maximum(first[leaf + 1] - first[leaf], 1)
    depth = (random.random((visits, VISIT)) ** 3 * width[:, None]).astype(np.int64)
    far = by_leaf[np.minimum(first[leaf][:, None] + depth, n - 1)]
    item = np.where(random.random((visits, VISIT)) < FROM_STYLE, near, far).ravel()
    begins = now - random.integers(HOUR, DAYS * DAY, visits)
    at = (begins[:, None] + np.arange(VISIT) * 30_000_000).ravel()
    visit = np.repeat(np.arange(visits), VISIT)
    user = np.repeat(random.integers(0, max(visits // 4, 1), visits), VISIT)
    actions = np.array(["view"] * (VISIT - 2) + ["add_to_cart", "purchase"])
    return event_columns(
        pl.DataFrame(
            {
                "event_id": pl.Series(np.arange(len(item))).cast(pl.String),
                "occurred_at": at,
                "action": np.tile(actions, visits),
                "entity_id": "item-" + pl.Series(item).cast(pl.String),
                "user_id": "user-" + pl.Series(user).cast(pl.String),
                "session_id": "visit-" + pl.Series(visit).cast(pl.String),
            }
        )
    )


def _weighted(
    weight: NDArray[np.float64],
    first: NDArray[np.int64],
    width: int,
    shape: tuple[int, int],
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Items of [first, first + width) drawn by weight, `shape` of them."""
    total = np.concatenate([[0.0], np.cumsum(weight)])
    low = total[np.minimum(first, len(weight))]
    high = total[np.minimum(first + width, len(weight))]
    drawn = np.searchsorted(total, low + random.random(shape) * (high - low), side="right") - 1
    return np.asarray(np.clip(drawn, 0, len(weight) - 1), np.int64)


def write_text_vectors(
    workspace: Workspace,
    market: Market,
    encoder: Encoder,
    dim: int,
    seed: int,
    now: int,
    progress: Progress,
) -> None:
    """Vectors of every item's text in the encoding cache, drawn around its style."""
    random = np.random.default_rng(seed + 3)
    leaves = random.normal(size=(LEAVES, dim)).astype(np.float32)
    styles = random.normal(size=(int(market.style[-1]) + 1, dim)).astype(np.float32)
    catalogue = Catalogue.open(workspace.catalogue)
    cache = EncodingCache(workspace.encodings)
    try:
        with progress.task("text vectors", len(market)) as done:
            for changes in catalogue.scan(BATCH):
                rows = np.array([change.row for change in changes])
                keys = [encoder.key(change.item) or b"" for change in changes]
                near = leaves[market.leaf[rows]] + 0.7 * styles[market.style[rows]]
                noise = random.normal(size=near.shape).astype(np.float32)
                cache.put("text", encoder.version, keys, _unit(near + 0.6 * noise), now)
                done(len(changes))
    finally:
        cache.close()
        catalogue.close()


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def bench_settings() -> Mapping[str, Any]:
    """Settings of the measured workspace: no images, quotas that fill the 300 candidates, and a
    slow learner, so that the trees come near the 500 of the budget (DESIGN "A request").
    """
    quotas = {"text": 120, "attributes": 80, "popular": 100}
    return {
        "encoders": {"spaces": ["text", "attributes"]},
        "recall": {"sources": {name: {"quota": quota} for name, quota in quotas.items()}},
        "ranker": {"trees": 500, "learning_rate": 0.01, "early_stopping": 500, "queries": 4000},
        "notes": ["A synthetic marketplace."],
    }
