"""Views at auction places are counted once, whoever wrote them and wherever they are by now."""

from __future__ import annotations

from pathlib import Path

from logged_decisions import NOW, decided, log_all, until

from kindred.events.auction_views import AuctionViews
from kindred.events.decision_log import LoggedDecision
from kindred.events.decisions import closed_rows, delete
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.decision import Shown
from kindred.schemas.item import Campaign


def auctioned(name: str, *items: str, at: int = NOW) -> LoggedDecision:
    """Shows a sponsored item, then `items` at auction places."""
    n = len(items)
    shown = Shown(
        item_id=["paid", *items], propensity=[1.0] + [0.5] * n, explore=[False] * (n + 1),
        sponsored=[True] * (n + 1), campaign=[Campaign.PLS, *[Campaign.PLX] * n],
    )  # fmt: skip
    return decided(name, at, shown=shown)


def views(tmp_path: Path) -> AuctionViews:
    return AuctionViews(
        tmp_path / "lake", tmp_path / "decisions.sqlite", every_s=0.01, look_back_days=10,
        clock=lambda: NOW + HOUR,
    )  # fmt: skip


def rolled(tmp_path: Path) -> None:
    """All decisions of the log go to the lake."""
    rows = closed_rows(tmp_path / "decisions.sqlite", NOW + DAY)
    Lake(tmp_path / "lake", DECISIONS).append(rows)
    delete(tmp_path / "decisions.sqlite", rows["decision_id"])


def test_every_view_counts_once_from_any_writer_before_and_after_it_rolls(tmp_path: Path) -> None:
    path = tmp_path / "decisions.sqlite"
    log_all(path, [auctioned("1", "a", "b"), decided("2")], writer="w1")
    rolled(tmp_path)
    log_all(path, [auctioned("3", "a")], writer="w2")
    counted = views(tmp_path)
    counted.refresh()
    version, found = counted.counts()
    assert found == {"a": 2, "b": 1}
    counted.refresh()
    assert counted.counts() == (version, found), "nothing has come"
    rolled(tmp_path)
    counted.refresh()
    assert counted.counts() == (version, found), "what rolls has been counted"
    log_all(path, [auctioned("4", "b"), auctioned("5", "b")], writer="w0")
    log_all(path, [auctioned("6", "c")], writer="w3")
    counted.refresh()
    assert counted.counts()[1] == {"a": 2, "b": 3, "c": 1}
    assert counted.version > version
    again = views(tmp_path)
    again.refresh()
    assert again.counts()[1] == {"a": 2, "b": 3, "c": 1}


def test_what_is_too_old_is_left_out_and_a_missing_log_is_an_empty_one(tmp_path: Path) -> None:
    counted = views(tmp_path)
    counted.refresh()
    assert counted.counts() == (0, {})
    log_all(
        tmp_path / "decisions.sqlite",
        [auctioned("old", "a", at=NOW - 11 * DAY), auctioned("new", "a", at=NOW)],
    )
    fresh = views(tmp_path)
    fresh.refresh()
    assert fresh.counts()[1] == {"a": 1}


def test_a_thread_keeps_the_counts_up_to_date(tmp_path: Path) -> None:
    counted = views(tmp_path)
    counted.start()
    try:
        log_all(tmp_path / "decisions.sqlite", [auctioned("1", "a")])
        until(lambda: counted.counts()[1] == {"a": 1})
        log_all(tmp_path / "decisions.sqlite", [auctioned("2", "a")], writer="w2")
        until(lambda: counted.counts()[1] == {"a": 2})
    finally:
        counted.close()
