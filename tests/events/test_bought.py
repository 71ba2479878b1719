"""What a user bought lately, wherever the log keeps it by now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from builders import event

from kindred.events.bought import Bought
from kindred.events.contract import event_columns
from kindred.events.lake import Lake
from kindred.events.log_tables import open_log_file
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.errors import LogError
from kindred.schemas.event import ACTION_CODE, Action, Event

NOW = 1_700_000_000_000_000
LONG = 3600.0


def bought(item: str, user: str = "ann", ago: int = HOUR, **facts: Any) -> Event:
    told: dict[str, Any] = {"action": Action.PURCHASE, **facts}
    return event(entity_id=item, user_id=user, occurred_at=NOW - ago, **told)


def rolled(root: Path, *events: Event) -> None:
    """Events that the lake holds."""
    rows = [msgspec.to_builtins(told) for told in events]
    Lake(root / "lake").append(event_columns(pl.DataFrame(rows)))


def logged(root: Path, *events: Event) -> None:
    """Events that the log still holds."""
    db = open_log_file(root / "log.sqlite")
    names = "event_id, occurred_at, action, entity_kind, entity_id, user_id"
    db.executemany(
        f"INSERT INTO events ({names}, received_at, logged_in, role, platform) "
        "VALUES (?, ?, ?, ?, ?, ?, 0, 0, 'customer', 'web')",
        [
            (e.event_id, e.occurred_at, ACTION_CODE[e.action.value], e.entity_kind.value,
             e.entity_id, e.user_id)
            for e in events
        ],
    )  # fmt: skip
    db.close()


def opened(root: Path, days: int = 30) -> Bought:
    return Bought(root / "log.sqlite", root / "lake", days, clock=lambda: NOW, look_s=LONG)


def test_nothing_is_known_of_a_market_without_events(tmp_path: Path) -> None:
    held = opened(tmp_path)
    assert held.of("ann") == []
    held.close()


def test_purchases_of_the_user_in_the_last_days_count(tmp_path: Path) -> None:
    rolled(
        tmp_path,
        bought("a", ago=29 * DAY),
        bought("old", ago=31 * DAY),
        bought("bobs", user="bob"),
        bought("seen", action=Action.VIEW),
        bought("a", ago=DAY),
        *(bought(f"other {n}", user=f"user {n}", ago=DAY) for n in range(50)),
    )
    logged(tmp_path, bought("c"), bought("pressed", action=Action.BUY_NOW), bought("d", "bob"))
    held = opened(tmp_path)
    assert sorted(held.of("ann")) == ["a", "c"]
    assert sorted(held.of("bob")) == ["bobs", "d"]
    assert held.of("user 7") == ["other 7"]
    assert held.of("nobody") == []
    held.close()
    short = opened(tmp_path, days=2)
    assert sorted(short.of("ann")) == ["a", "c"]
    short.close()


def test_new_files_of_the_lake_are_read(tmp_path: Path) -> None:
    rolled(tmp_path, bought("a", ago=2 * DAY))
    held = opened(tmp_path)
    rolled(tmp_path, bought("b", ago=DAY), bought("b2", ago=2 * DAY))
    held.refresh()
    assert sorted(held.of("ann")) == ["a", "b", "b2"]
    held.close()


def test_a_log_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    logged(tmp_path, bought("a"))
    held = opened(tmp_path)
    (tmp_path / "log.sqlite").rename(tmp_path / "gone")
    (tmp_path / "log.sqlite").write_bytes(b"nothing of the kind" * 500)
    with pytest.raises(LogError):
        held.of("ann")
    held.close()
