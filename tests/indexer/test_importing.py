"""Import: a column map, rejects, each record once, the same again changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from builders import event, item
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.events.contract import FACTS
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.importing import ImportReport, import_events, import_items
from kindred.indexer.readers.fields import EVENT_FIELDS, ITEM_FIELDS
from kindred.indexer.readers.files import open_table
from kindred.indexer.readers.mapping import DEFAULT_START, ColumnMap, parse_pairs, parse_renamed
from kindred.indexer.readers.records import read_table
from kindred.schemas.errors import InputError
from kindred.schemas.event import Event
from kindred.schemas.item import Campaign, Condition, Format, Item, Location, Status
from kindred.schemas.settings import ImportSettings

SMALL = ImportSettings(chunk_rows=7)


class Importer:
    """A workspace in a folder, and a file to bring in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.catalogue = Catalogue.open(root / "catalogue.sqlite", clock=lambda: 42)
        self.lake = Lake(root / "lake")

    def file(self, content: str | pl.DataFrame, name: str) -> Path:
        path = self.root / name
        if isinstance(content, str):
            path.write_text(content)
        else:
            content.write_parquet(path)
        return path

    def items(self, path: Path, **told: Any) -> ImportReport:
        wanted = ColumnMap(**told)
        sources = [read_table(open_table(path), wanted, ITEM_FIELDS)]
        return import_items(
            sources, self.catalogue, self.root / "rejects", SMALL, truncate=wanted.truncate
        )

    def events(self, path: Path, **told: Any) -> ImportReport:
        sources = [read_table(open_table(path), ColumnMap(**told), EVENT_FIELDS)]
        return import_events(
            sources, self.lake, self.root / "rejects", SMALL, catalogue=self.catalogue
        )

    def stored(self) -> list[Item]:
        return [change.item for chunk in self.catalogue.scan() for change in chunk]

    def lake_rows(self, *columns: str) -> list[Any]:
        rows = self.lake.scan().sort("occurred_at", "event_id").select(columns).collect().rows()
        return [row[0] for row in rows] if len(columns) == 1 else rows


@pytest.fixture
def importer(tmp_path: Path) -> Iterator[Importer]:
    importer = Importer(tmp_path)
    yield importer
    importer.catalogue.close()


def rejects(report: ImportReport) -> list[dict[str, Any]]:
    assert report.rejects_file is not None
    return [json.loads(line) for line in Path(report.rejects_file).read_text().splitlines()]


def test_a_csv_of_items_by_a_column_map(importer: Importer) -> None:
    path = importer.file(
        "sku,name,maker,price,lat,lon,dept,kind,size,listed\n"
        "7,Oak table,Ek,125.50,59.9,10.7,Home,Tables,2.5,2023-11-15\n"
        "8,  ,,,,,Home,,,\n",
        "feed.csv",
    )
    maps = (
        "item_id=sku", "title=maker+name", "brand=maker", "price_minor=price*100",
        "location.lat=lat", "location.lon=lon", "category=dept+kind", "attributes.size=size*1",
        "created_at=listed",
    )  # fmt: skip
    columns = parse_pairs("map", maps)
    constants = parse_pairs("set", ["currency=EUR", "formats=buy_now+best_offer", "condition=used"])
    report = importer.items(path, columns=columns, constants=constants)
    assert (report.read, report.accepted, report.rejected) == (2, 2, 0)
    either = (Format.BUY_NOW, Format.BEST_OFFER)
    assert importer.stored() == [
        Item(
            item_id="7", title="Ek Oak table", brand="Ek", category=("Home", "Tables"),
            price_minor=12550, currency="EUR", attributes={"size": 2.5}, formats=either,
            location=Location(lat=59.9, lon=10.7), condition=Condition.USED,
            created_at=1_700_006_400_000_000,
        ),
        Item(
            item_id="8", category=("Home",), currency="EUR", formats=either,
            condition=Condition.USED, created_at=42,
        ),
    ]  # fmt: skip


def test_our_own_records_need_no_map(importer: Importer) -> None:
    items = [
        item(attributes={"size": 1.5, "fit": "slim"}, location=Location(lat=1, lon=2)),
        item(campaign=Campaign.PLS, ad_rate_bp=500, materials=("oak", "wool"), images=("a.jpg",)),
        item(status=Status.SOLD, formats=(Format.AUCTION,), auction_end=1_700_000_000_000_001),
    ]
    lines = b"\n".join(map(msgspec.json.encode, items)).decode()
    assert importer.items(importer.file(lines, "items.jsonl")).accepted == 3
    assert importer.stored() == items
    nested = pl.DataFrame(msgspec.to_builtins(items), infer_schema_length=None)
    assert importer.items(importer.file(nested, "items.parquet")).unchanged == 3

    events = [event(position=3, value_minor=5), event(device_id="d", user_id=None)]
    lines = b"\n".join(map(msgspec.json.encode, events)).decode()
    assert importer.events(importer.file(lines, "events.jsonl")).accepted == 2
    rows = importer.lake.scan().sort("event_id").collect().rows(named=True)
    kept = [{k: v for k, v in row.items() if v is not None} for row in rows]
    assert sorted(map(repr, (msgspec.convert(k, Event) for k in kept))) == sorted(map(repr, events))


def test_the_same_file_again_changes_nothing(importer: Importer) -> None:
    rows = [f"i{n % 20},title {n},{n}" for n in range(50)]
    path = importer.file("\n".join(["item_id,title,price_minor", *rows]), "items.csv")
    first = importer.items(path, constants={"currency": "EUR"})
    assert (first.read, first.accepted, first.unchanged) == (50, 20, 30)
    assert importer.stored()[0].title == "title 40", "of an id told twice the last counts"
    sequence = importer.catalogue.sequence
    again = importer.items(path, constants={"currency": "EUR"})
    assert (again.read, again.accepted, again.unchanged) == (50, 0, 50)
    assert importer.catalogue.sequence == sequence

    sessions = pl.DataFrame({"session_id": ["a", "b"], "entity_id": ["i1", "i2"]})
    path = importer.file(sessions, "events.parquet")
    view = {"constants": {"action": "view"}}
    assert importer.events(path, **view).accepted == 2
    fingerprint = importer.lake.fingerprint()
    assert importer.events(path, **view).unchanged == 2
    assert importer.lake.fingerprint() == fingerprint


def test_rows_that_break_the_contract_are_told_and_the_rest_goes_in(importer: Importer) -> None:
    path = importer.file(
        "item_id,title,price_minor,currency,colour\n"
        "1,fine,5,EUR,red\n"
        f"2,{'x' * 201},5,EUR,red\n"
        "3,cheap,5.5,EUR,red\n"
        ",nobody,5,EUR,red\n"
        "5,too,many,of,them,all\n"
        "6,no currency,5,,red\n"
        "7,fine too,,,\n",
        "items.csv",
    )
    report = importer.items(path)
    assert (report.read, report.accepted, report.rejected) == (7, 2, 5)
    found = {r["row"]: (r["path"], r["reason"]) for r in rejects(report)}
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert found[1] == ("$.title", "Expected `str` of length <= 200")
    assert found[2][0] == "$.price_minor"
    assert found[3] == ("$", "Object missing required field `item_id`")
    assert found[5] == ("$", "`price_minor` needs a `currency`")
    assert next(r for r in rejects(report) if r["row"] == 3)["data"]["title"] == "nobody"
    again = importer.items(path)
    assert (again.unchanged, again.rejected) == (2, 5)
    assert len(rejects(again)) == 5

    cut = importer.items(path, truncate=True)
    assert (cut.accepted, cut.rejected, cut.cut) == (1, 4, 1)
    stored = importer.catalogue.get("2")
    assert stored is not None
    assert stored.title == "x" * 200


def test_events_that_break_the_contract_are_told(importer: Importer) -> None:
    lines = [
        {"event_id": "1", "occurred_at": "2023-11-15", "entity_id": "i", "user_id": "u"},
        {"event_id": "2", "occurred_at": "soon", "entity_id": "i", "user_id": "u"},
        {"event_id": "3", "occurred_at": "2023-11-15", "entity_id": "i"},
        {"event_id": "4", "occurred_at": "2023-11-15", "entity_id": "i" * 129, "user_id": "u"},
        {"event_id": "5", "occurred_at": "2023-11-15", "entity_id": "i", "user_id": "u",
         "action": "buy"},
        {"event_id": "6", "occurred_at": None, "entity_id": "i", "user_id": "u"},
    ]  # fmt: skip
    path = importer.file("\n".join([*map(json.dumps, lines), "{"]), "events.jsonl")
    report = importer.events(path, constants={"action": "view"})
    assert (report.read, report.accepted, report.rejected) == (7, 1, 6)
    found = {r["row"]: r["path"] for r in rejects(report)}
    assert found == {1: "$.occurred_at", 2: "$", 3: "$.entity_id", 4: "$.action", 5: "$", 6: "$"}
    assert importer.lake_rows("event_id", "action") == [("1", "view")]


def test_events_are_checked_against_their_listings(importer: Importer) -> None:
    """The formats of an item changed after 42 microseconds; events are told in seconds."""
    sold = {"seller_id": "s", "campaign": Campaign.PLS, "ad_rate_bp": 150}
    importer.catalogue.upsert([item(item_id="now", **sold), item(item_id="was now")])
    importer.catalogue.upsert([item(item_id="was now", formats=(Format.AUCTION,))])
    lines = [
        {"event_id": f"{name} {action} {at}", "occurred_at": at, "entity_id": name, "user_id": "u",
         "action": action}
        for at in (0, 1)
        for name in ("now", "was now", "unknown")
        for action in ("buy_now", "place_bid", "purchase", "view")
    ]  # fmt: skip
    told = pl.DataFrame(lines)
    report = importer.events(importer.file(told, "events.parquet"))
    refused = {row["data"]["event_id"]: (row["path"], row["reason"]) for row in rejects(report)}
    assert set(refused) == {
        "now place_bid 0", "now place_bid 1", "was now place_bid 0", "was now buy_now 1",
    }  # fmt: skip
    why = ("$.action", "`buy_now` needs a listing with the format buy_now")
    assert refused["was now buy_now 1"] == why
    facts = {row[0]: row[1:] for row in importer.lake_rows("event_id", *FACTS)}
    assert facts["now purchase 1"] == facts["now buy_now 0"] == (1, "s", 150)
    assert facts["was now purchase 0"] == (1, None, 0)
    assert facts["was now place_bid 1"] == (4, None, 0)
    assert facts["unknown buy_now 1"] == facts["now view 1"] == (None, None, None)


def test_lists_become_records_in_their_order(importer: Importer) -> None:
    frame = pl.DataFrame(
        {"user": ["u", "v"], "history": [[3, 1, 3], []], "target": [2, 1], "row": [9, 8]}
    )
    path = importer.file(frame, "valid.parquet")
    assert importer.items(path, columns={"item_id": "history+target"}).read == 5
    assert {i.item_id for i in importer.stored()} == {"1", "2", "3"}

    columns = {"entity_id": "history+target", "session_id": "row"}
    report = importer.events(path, columns=columns, constants={"action": "purchase"})
    assert report.accepted == 5
    assert "one second for each row" in report.notes[-1]
    told = importer.lake_rows("occurred_at", "entity_id", "session_id")
    assert told == [
        (DEFAULT_START, "3", "9"),
        (DEFAULT_START + 1, "1", "9"),
        (DEFAULT_START + 2, "3", "9"),
        (DEFAULT_START + 3, "2", "9"),
        (DEFAULT_START + 1_000_000, "1", "8"),
    ]
    assert importer.events(path, columns=columns, constants={"action": "purchase"}).unchanged == 5
    views = importer.events(path, columns=columns, constants={"action": "view"})
    assert views.accepted == 5, "the same file read in another way tells other events"


def test_an_empty_list_is_an_event_without_an_item(importer: Importer) -> None:
    frame = pl.DataFrame({"session_id": ["a", "b"], "items": [["x"], []]})
    columns, constants = {"entity_id": "items"}, {"action": "view"}
    report = importer.events(
        importer.file(frame, "s.parquet"), columns=columns, constants=constants
    )
    assert (report.accepted, report.rejected) == (1, 1)
    assert rejects(report)[0]["data"] == {"session_id": "b", "items": []}


def test_words_of_theirs_and_numbers_of_rows(importer: Importer) -> None:
    path = importer.file("visitor,what,product\nu,cart,p.q\nu,view,r\n", "e.csv")
    report = importer.events(
        path,
        columns={
            "user_id": "visitor",
            "action": "what",
            "entity_id": "product",
            "session_id": "@row",
        },
        renamed=parse_renamed(["action:cart=add_to_cart"]),
        separators={"entity_id": "."},
    )
    assert report.accepted == 3
    assert importer.lake_rows("action", "entity_id", "session_id") == [
        ("add_to_cart", "p", "0"), ("add_to_cart", "q", "0"), ("view", "r", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"columns": {"item_id": "nothing"}}, "no column 'nothing'; there are a, b"),
        ({"columns": {"identity": "a"}}, "no field 'identity'"),
        ({}, "nothing is mapped to 'item_id'; the columns are a, b"),
        ({"columns": {"item_id": "a", "title": "b"}}, "'b' holds lists"),
        ({"columns": {"item_id": "a", "brand": "a", "quantity": "a+b"}}, "lists"),
        ({"columns": {"item_id": "a"}, "constants": {"quantity": "many"}}, "expected int"),
        ({"columns": {"item_id": "a"}, "constants": {"size": "1"}}, "no field 'size'"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    importer: Importer, told: dict[str, Any], reason: str
) -> None:
    path = importer.file(pl.DataFrame({"a": ["1"], "b": [["x"]]}), "t.parquet")
    with pytest.raises(InputError, match=reason):
        importer.items(path, **told)


ids = st.sampled_from(["a", "b", "c", "", "x" * 129])
moments = st.sampled_from([1_700_000_000_000_000, 0, -1, 2**53, None])
values = st.sampled_from([None, 0, -1, 2**53])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "event_id": ids, "entity_id": ids, "user_id": ids, "value_minor": values,
                "occurred_at": moments, "action": st.sampled_from(["view", "nothing"]),
            }
        ),
        min_size=1,
        max_size=20,
    )
)  # fmt: skip
def test_an_import_keeps_what_the_type_accepts(
    tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, Any]]
) -> None:
    importer = Importer(tmp_path_factory.mktemp("import"))
    frame = pl.DataFrame(told, infer_schema_length=None).with_columns(
        event_id=pl.format("{}{}", pl.col("event_id"), pl.int_range(pl.len()))
    )
    report = importer.events(importer.file(frame, "e.parquet"), time_unit="us")
    expected = set()
    for row in frame.rows(named=True):
        given = {k: v for k, v in row.items() if v not in (None, "")}
        try:
            expected.add(msgspec.convert(given, Event).event_id)
        except msgspec.ValidationError:
            continue
    assert set(importer.lake_rows("event_id")) == expected
    assert report.accepted == len(expected)
    assert report.read == len(told) == report.accepted + report.rejected
    importer.catalogue.close()
