"""The Complete Journey: what its items and events say, and what they must not know."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.importing import import_events, import_items
from kindred.indexer.readers.complete_journey import (
    ADS_SIMULATED,
    RATE_BOUNDS_BP,
    CompleteJourney,
    JourneyRecords,
    complete_journey,
)
from kindred.indexer.readers.grocery_words import readable, readable_size, title_of
from kindred.schemas.item import Campaign
from kindred.schemas.settings import ImportSettings


@pytest.fixture(scope="module")
def journey() -> CompleteJourney:
    return complete_journey(products=400)


def test_labels_become_words() -> None:
    assert (
        readable("SFT DRNK 2 LITER BTL CARB INCL")
        == "soft drink 2 liter bottle carbonated including"
    )
    assert readable("ICE - CRUSHED/CUBED") == "ice, crushed, cubed"
    assert readable_size("12.7 OZ") == "12.7 ounces"
    assert title_of([None, "FRZN ICE"], None) == "Frozen ice"
    assert title_of(["BANANAS", "TROPICAL FRUIT"], "40 LB") == "Bananas, 40 pounds"


def test_a_slice_goes_in_whole(journey: CompleteJourney, tmp_path: Path) -> None:
    catalogue, lake = Catalogue.open(tmp_path / "c.sqlite"), Lake(tmp_path / "lake")
    items, events = (JourneyRecords(journey, what) for what in ("items", "events"))
    settings = ImportSettings(chunk_rows=5000)
    report = import_items([items], catalogue, tmp_path, settings)
    assert (report.accepted, report.rejected, report.notes) == (400, 0, [ADS_SIMULATED])
    report = import_events([events], lake, tmp_path, settings)
    assert report.rejected == 0
    assert 5_000 < report.accepted < 40_000
    known = {i.item_id for chunk in catalogue.scan() for _, _, i in chunk}
    bought = lake.scan().select(pl.col("entity_id").unique()).collect().to_series()
    assert set(bought) <= known
    assert len(set(bought)) > 300
    assert import_events([events], lake, tmp_path, settings).accepted == 0
    catalogue.close()


def test_items_know_nothing_of_the_last_four_weeks(journey: CompleteJourney) -> None:
    newest = journey._table("transactions").select(pl.col("week").max()).collect().item()
    assert journey.last_week == newest - 4
    earlier = journey._table("transactions").filter(pl.col("week") <= journey.last_week)
    assert journey.sold["sales"].sum() == earlier.select(pl.len()).collect().item()
    listed = journey.items()
    assert listed["created_at"].n_unique() == 1


def test_a_tenth_is_sponsored_with_seeded_rates(journey: CompleteJourney) -> None:
    listed = journey.items()
    sponsored = listed.filter(pl.col("campaign") == Campaign.PLS.value)
    assert sponsored.height == 40
    assert sponsored["ad_rate_bp"].is_between(*RATE_BOUNDS_BP).all()
    assert 300 < (sponsored["ad_rate_bp"].median() or 0) < 800
    again = complete_journey(products=400).sponsored
    assert again.equals(journey.sponsored)
    assert not complete_journey(products=400, seed=8).sponsored.equals(again)


def test_prices_are_those_paid(journey: CompleteJourney) -> None:
    listed = journey.items()
    assert listed["price_minor"].null_count() == 0
    banana = listed.filter(pl.col("item_id") == "1082185").row(0, named=True)
    assert banana["title"] == "Bananas, 40 pounds"
    assert banana["category"] == ["PRODUCE", "TROPICAL FRUIT", "BANANAS"]
    assert 50 <= banana["price_minor"] <= 300
