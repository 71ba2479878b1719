"""What the catalogue says of the items of priced actions, for events in bulk (SPEC B7)."""

from __future__ import annotations

import polars as pl

from kindred.events.actions import FORMATS, PRICED
from kindred.events.check import needed_format
from kindred.events.contract import EVENT_SCHEMA, FACTS, Problem
from kindred.indexer.listings import Listings
from kindred.schemas.event import EntityKind

_PRICED = [action.value for action in PRICED]
_KNOWN = pl.Schema({"entity_id": pl.String(), **{name: EVENT_SCHEMA[name] for name in FACTS}})
_FORMER = pl.Schema({"entity_id": pl.String(), "until": pl.Int64(), "then": pl.UInt8()})
_LOOKED_UP_AT_ONCE = 20_000


class ListingFacts:
    """Fills the columns FACTS, asking about each item once."""

    def __init__(self, listings: Listings) -> None:
        self._listings = listings
        self._asked = pl.Series("entity_id", [], pl.String())
        self._known, self._former = _KNOWN.to_frame(), _FORMER.to_frame()

    def fill(self, events: pl.DataFrame) -> pl.DataFrame:
        """`events` (EVENT_SCHEMA) with the facts of the time in rows of priced actions on items;
        null in all others, and where the catalogue does not know the item."""
        bare = events.drop(FACTS)
        priced = (
            bare.select("entity_id", "occurred_at", "action", "entity_kind")
            .with_row_index("at")
            .filter(
                pl.col("action").is_in(_PRICED),
                pl.col("entity_kind") == EntityKind.ITEM.value,
                pl.col("entity_id").is_not_null() & pl.col("occurred_at").is_not_null(),
            )
        )
        self._ask(priced["entity_id"].unique())
        told = priced.join(self._known, on="entity_id", maintain_order="left")
        if self._former.height:
            told = (
                told.with_columns(after=pl.col("occurred_at") + 1)
                .sort("after")
                .join_asof(
                    self._former.sort("until"), left_on="after", right_on="until",
                    by="entity_id", strategy="forward", check_sortedness=False,
                )
                .with_columns(formats=pl.coalesce("then", "formats"))
            )  # fmt: skip
        facts = told.select("at", *FACTS)
        filled = bare.with_row_index("at").join(facts, on="at", how="left", maintain_order="left")
        return filled.select(EVENT_SCHEMA.names())

    def _ask(self, item_ids: pl.Series) -> None:
        new = item_ids.filter(~item_ids.is_in(self._asked.implode()))
        for at in range(0, len(new), _LOOKED_UP_AT_ONCE):
            few = new.slice(at, _LOOKED_UP_AT_ONCE).to_list()
            known, former = self._listings.facts_ever(few)
            rows = [(item_id, *facts[:3]) for item_id, facts in known.items()]
            past = [(item_id, *change) for item_id, told in former.items() for change in told]
            self._known = self._known.vstack(pl.DataFrame(rows, _KNOWN, orient="row"))
            self._former = self._former.vstack(pl.DataFrame(past, _FORMER, orient="row"))
        self._asked = self._asked.append(new)


def format_problems() -> list[Problem]:
    """Actions on listings that do not offer them, of events that `ListingFacts` has filled."""
    return [
        Problem(
            (pl.col("action") == action.value)
            & ((pl.col("formats") & pl.lit(int(needed), pl.UInt8)) == 0),
            "$.action",
            needed_format(action),
        )
        for action, needed in FORMATS.items()
    ]
