"""What the log takes: the contract, the time window, and what listings allow (SPEC B7, C6)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import polars as pl
import pytest
from builders import event
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.events.actions import FORMATS
from kindred.events.check import EventChecks
from kindred.events.contract import Facts, check_events, event_columns
from kindred.events.history import newest_rejects
from kindred.events.intake import EventIntake
from kindred.events.log import EventLog
from kindred.schemas.clock import MINUTE
from kindred.schemas.errors import SettingsError
from kindred.schemas.event import ENTITY_KINDS, Action, Event, Platform
from kindred.schemas.item import FormatBits
from kindred.schemas.settings import EventSettings

NOW = 1_800_000_000_000_000


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TOLD = {
    "event_id": "e", "occurred_at": NOW, "action": "view", "entity_id": "i", "user_id": "u",
}  # fmt: skip


def clock() -> int:
    return NOW


def recent(**fields: object) -> Event:
    return event(**{"occurred_at": NOW - MINUTE, **fields})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


class Market:
    """An intake over one buy-now, one best-offer and one auction listing, and an unknown one."""

    facts = {
        "now": Facts(int(FormatBits.BUY_NOW), "shop", 100, "home"),
        "offer": Facts(int(FormatBits.BEST_OFFER), None, 0, "cars"),
        "auction": Facts(int(FormatBits.AUCTION | FormatBits.BEST_OFFER), None, 0, None),
    }

    def __init__(self, path: Path, **fields: object) -> None:
        self.settings = EventSettings(**fields)  # type: ignore[arg-type]
        self.path = path
        self.log = EventLog.open(path, self.settings, clock)
        checks = EventChecks(self.settings)
        self.intake = EventIntake(self.log, checks, self.facts_at, clock)
        self.asked: list[str] = []

    def facts_at(self, item_ids: Sequence[str], times: Sequence[int]) -> list[Facts | None]:
        self.asked += item_ids
        return [self.facts.get(item_id) for item_id in item_ids]

    def tell(self, *rows: bytes | Event) -> list[tuple[str, str]]:
        """(path, reason) of what is refused."""
        raws = [row if isinstance(row, bytes) else msgspec.json.encode(row) for row in rows]
        batch = self.intake.read(raws)
        self.intake.log(batch).result(30)
        return [(row.path, row.reason) for row in batch.refused]


@pytest.fixture
def market(path: Path) -> Iterator[Market]:
    held = Market(path, interest_categories=("cars",))
    yield held
    held.intake.close()


class TestChecks:
    def test_a_broken_row_is_told_where_and_keeps_no_other_out(self, market: Market) -> None:
        refused = market.tell(
            recent(),
            b'{"event_id": 5}',
            b'{"event_id": "e", "occurred_at": 1, "action": "leap", "entity_id": "i"}',
            b'{"event_id": "e", "occurred_at": 1, "action": "view", "entity_id": "i"}',
            b'{"event_id": "\xff"}',
            b"[]",
        )
        assert [path for path, _ in refused] == [
            "$.events[1].event_id", "$.events[2].action", "$.events[3]", "$.events[4]",
            "$.events[5]",
        ]  # fmt: skip
        assert refused[0][1] == "Expected `str`, got `int`"
        assert "one of `user_id`" in refused[2][1]
        assert [reason for _, reason in refused[3:]] == [
            "the row is not UTF-8",
            "Expected `object`, got `array`",
        ]
        assert len(market.log.scan()) == 1

    @pytest.mark.parametrize(
        "name", ["event_id", "entity_id", "user_id", "device_id", "session_id", "decision_id"]
    )
    def test_every_id_is_at_most_128_bytes_without_nul(self, market: Market, name: str) -> None:
        bad = ["a\0", "é" * 65, "🐘" * 33]
        good = ["é" * 64, "🐘" * 32, "x" * 128]
        told = [{**TOLD, "event_id": f"e{n}", name: value} for n, value in enumerate(bad + good)]
        refused = market.tell(*map(msgspec.json.encode, told))
        reason = f"`{name}` must be at most 128 bytes without NUL"
        assert refused == [(f"$.events[{at}]", reason) for at in range(3)]

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("country", "de", "must be two capital letters (ISO 3166-1 alpha-2)"),
            ("traceparent", "x", f"must be a W3C trace context of version 00, such as {TRACE}"),
            ("platform", "tv", "must be one of web, app"),
            ("entity_kind", "house", "must be one of item, query, category, shop, content"),
        ],
    )
    def test_a_refusal_says_what_would_be_right(
        self, market: Market, field: str, value: str, words: str
    ) -> None:
        row = {**TOLD, field: value}
        assert market.tell(msgspec.json.encode(row)) == [(f"$.events[0].{field}", words)]
        columns = check_events(event_columns(pl.DataFrame([row])))
        assert columns.row(0) == (0, f"$.{field}", words)

    @pytest.mark.parametrize(
        ("at", "words"),
        [
            (NOW + 5_000_000, ""),
            (NOW + 5_000_001, "lies 5.0 s in the future"),
            (NOW - 60 * MINUTE, ""),
            (NOW - 60 * MINUTE - 1, "is 60.0 minutes old"),
            (NOW // 1_000, "is told in milliseconds, it seems; times are microseconds"),
            (NOW // 1_000_000, "is told in seconds, it seems; times are microseconds"),
        ],
    )
    def test_the_time_window(self, market: Market, at: int, words: str) -> None:
        refused = market.tell(recent(occurred_at=at))
        assert [path for path, _ in refused] == (["$.events[0].occurred_at"] if words else [])
        assert all(words in reason for _, reason in refused)

    def test_a_listing_s_format_decides(self, market: Market) -> None:
        cases = [
            recent(action=action, entity_id=item)
            for action in FORMATS
            for item in ("now", "offer", "auction", "unknown")
        ]
        refused = market.tell(*cases)
        taken = {(row["action"], row["entity_id"]) for row in market.log.scan().iter_rows(named=1)}
        assert taken == {
            ("add_to_cart", "now"), ("buy_now", "now"), ("make_offer", "offer"),
            ("make_offer", "auction"), ("place_bid", "auction"),
            *((action.value, "unknown") for action in FORMATS),
        }  # fmt: skip
        words = "`add_to_cart` needs a listing with the format buy_now; this one had best_offer"
        assert refused[0] == ("$.events[1].action", words)

    def test_priced_actions_keep_what_the_catalogue_says(self, market: Market) -> None:
        assert not market.tell(
            recent(action=Action.PURCHASE, entity_id="now"), recent(entity_id="now"),
            recent(action=Action.PURCHASE, entity_id="unknown"),
        )  # fmt: skip
        rows = market.log.scan().select("formats", "seller_id", "ad_rate_bp").rows()
        assert rows == [(1, "shop", 100), (None, None, None), (None, None, None)]
        assert market.asked == ["now", "unknown"]

    def test_where_an_action_exists(self, market: Market) -> None:
        refused = market.tell(
            recent(action=Action.CONTACT_SELLER),
            recent(action=Action.CONTACT_SELLER, platform=Platform.APP),
            recent(action=Action.SHOW_INTEREST, entity_id="now"),
            recent(action=Action.SHOW_INTEREST, entity_id="offer"),
            recent(action=Action.SHOW_INTEREST, entity_id="unknown"),
        )
        assert [path for path, _ in refused] == ["$.events[0].platform", "$.events[2].action"]

    def test_dead_letters_keep_the_row_with_its_reason(self, market: Market, path: Path) -> None:
        market.tell(b"{}", recent(action=Action.BUY_NOW, entity_id="offer"))
        newest, older = newest_rejects(path, 10)
        assert (older.raw, older.path, older.received_at) == ("{}", "$.events[0]", NOW)
        assert "buy_now" in newest.raw
        assert "needs a listing" in newest.reason

    @pytest.mark.parametrize("field", ["durable", "app_only"])
    def test_settings_name_actions_that_there_are(self, path: Path, field: str) -> None:
        with pytest.raises(SettingsError, match="leap") as error:
            Market(path, **{field: ("leap",)}).intake.close()
        assert error.value.path == f"$.events.{field}"


ACTIONS = list(Action)
LISTINGS = [*Market.facts, "unknown"]


def random_rows(seed: int, count: int) -> list[Event]:
    draw = random.Random(seed)
    rows = []
    for n in range(count):
        action = draw.choice(ACTIONS)
        rows.append(
            recent(
                event_id=f"{seed}-{n}", action=action, entity_id=draw.choice(LISTINGS),
                entity_kind=draw.choice(ENTITY_KINDS[action]), platform=Platform.APP,
                occurred_at=NOW - draw.randrange(60 * MINUTE),
            )
        )  # fmt: skip
    return rows


@given(seed=st.integers(0, 2**31))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_no_action_is_taken_that_the_listing_does_not_offer(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """SPEC C6, over 100,000 events."""
    market = Market(tmp_path_factory.mktemp("c6") / "log.sqlite")
    rows = random_rows(seed, 25_000)
    market.tell(*rows)
    taken = market.log.scan()
    market.intake.close()
    allowed = [
        row.event_id
        for row in rows
        if (facts := market.facts.get(row.entity_id)) is None
        or row.action not in FORMATS
        or FORMATS[row.action] & facts.formats
    ]
    assert taken["event_id"].to_list() == allowed
    assert len(allowed) < len(rows)


@given(seed=st.integers(0, 2**31), data=st.data())
@settings(max_examples=5, deadline=None, derandomize=True)
def test_order_and_repetition_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory, seed: int, data: st.DataObject
) -> None:
    rows = random_rows(seed, 300)
    logs = []
    for told in (rows, data.draw(st.permutations([*rows, *rows[::7]]))):
        market = Market(tmp_path_factory.mktemp("order") / "log.sqlite")
        for at in range(0, len(told), 50):
            market.tell(*told[at : at + 50])
        logs.append(market.log.scan().sort("event_id"))
        market.intake.close()
    assert logs[0].equals(logs[1])
