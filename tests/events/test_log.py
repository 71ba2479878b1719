"""The event log: committed before acknowledged, once by id, back after failures, bounded."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest
from builders import event

from kindred.events.contract import EVENT_SCHEMA, Facts
from kindred.events.log import Appended, EventLog
from kindred.events.log_tables import open_log_file
from kindred.schemas.clock import MINUTE
from kindred.schemas.errors import LogError, LogFull
from kindred.schemas.event import Action, EntityKind, Event, Platform
from kindred.schemas.settings import EventSettings

NOW = 1_800_000_000_000_000
SETTINGS = EventSettings(busy_s=0.2)


def clock() -> int:
    return NOW


def recent(**fields: object) -> Event:
    return event(**{"occurred_at": NOW - MINUTE, **fields})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    opened = EventLog.open(path, SETTINGS, clock)
    yield opened
    opened.close()


def done(future: Future[Appended]) -> Appended:
    return future.result(30)


class TestAppending:
    def test_every_field_comes_back(self, log: EventLog) -> None:
        whole = recent(
            action=Action.BUY_NOW, device_id="d", session_id="s", logged_in=True,
            platform=Platform.APP, surface="home", decision_id="dec", position=3,
            traceparent=f"00-{'a' * 32}-{'b' * 16}-01", country="NO", postcode="0150",
            value_minor=900, dwell_ms=4,
        )  # fmt: skip
        search = recent(action=Action.SEARCH, entity_kind=EntityKind.QUERY, text="øl")
        done(log.append([whole, search], [Facts(3, "shop", 250, "home"), None]))
        rows = log.scan()
        assert rows.schema == EVENT_SCHEMA
        for told, row in zip((whole, search), rows.iter_rows(named=True), strict=True):
            facts = [row.pop(name) for name in ("formats", "seller_id", "ad_rate_bp")]
            assert facts == ([3, "shop", 250] if told is whole else [None] * 3)
            assert msgspec.convert(row, Event) == told

    def test_an_id_counts_once_whoever_tells_it(self, log: EventLog, path: Path) -> None:
        first, second = recent(event_id="a"), recent(event_id="b")
        assert done(log.append([first, first])) == Appended(1, 1)
        other = EventLog.open(path, SETTINGS, clock)
        assert done(other.append([second, first])) == Appended(1, 1)
        other.close()
        assert log.scan()["event_id"].to_list() == ["a", "b"]

    def test_a_request_s_trace_goes_to_events_that_tell_none(self, log: EventLog) -> None:
        own, given_ = f"00-{'1' * 32}-{'1' * 16}-01", f"00-{'2' * 32}-{'2' * 16}-00"
        done(log.append([recent(traceparent=own), recent()], traceparent=given_))
        assert log.scan()["traceparent"].to_list() == [own, given_]

    def test_closing_commits_what_waits(self, log: EventLog, path: Path) -> None:
        with blocked(path):
            waiting = [log.append([recent()]) for _ in range(50)]
            closing = threading.Thread(target=log.close)
            closing.start()
        closing.join(30)
        assert sum(done(future).accepted for future in waiting) == len(log.scan()) == 50
        with pytest.raises(LogError, match="closed"):
            log.append([recent()])

    def test_a_caller_who_goes_away_keeps_nothing_from_the_log(
        self, log: EventLog, path: Path
    ) -> None:
        with blocked(path):
            first = log.append([recent()])
            while not first.running():
                time.sleep(0.001)
            gone = log.append([recent()])
            assert gone.cancel()
        last = log.append([recent()])
        assert (done(first), done(last)) == (Appended(1, 0), Appended(1, 0))
        assert len(log.scan()) == 3

    def test_money_waits_for_the_disk_and_the_rest_does_not(self, path: Path) -> None:
        said: list[str] = []

        class Watched(EventLog):
            def _file(self) -> sqlite3.Connection:
                db = super()._file()
                db.set_trace_callback(said.append)
                return db

        log = Watched.open(path, SETTINGS, clock)
        modes = {}
        for action in (Action.VIEW, Action.PURCHASE, Action.CLICK):
            said.clear()
            done(log.append([recent(action=action)]))
            modes[action] = next(s for s in said if "synchronous" in s).rpartition(" ")[2]
        log.close()
        assert modes == {Action.VIEW: "NORMAL", Action.PURCHASE: "FULL", Action.CLICK: "NORMAL"}


class blocked:  # noqa: N801  (reads as a phrase)
    """Holds the write lock of a log, as another process would."""

    def __init__(self, path: Path) -> None:
        self._db = open_log_file(path)

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._db.execute("ROLLBACK")
        self._db.close()


class TestFailures:
    def test_too_much_that_waits_is_told_to_the_caller(self, path: Path) -> None:
        log = EventLog.open(path, EventSettings(queue=10, busy_s=20), clock)
        with blocked(path):
            taken = [log.append([recent() for _ in range(9)])]
            with pytest.raises(LogFull, match="9 events wait"):
                log.append([recent(), recent()])
            taken.append(log.append([recent()]))
        assert [done(future).accepted for future in taken] == [9, 1]
        assert done(log.append([recent() for _ in range(11)])).accepted == 11
        log.close()

    def test_a_busy_file_fails_after_a_while_and_recovers(self, log: EventLog, path: Path) -> None:
        told = [recent()]
        with blocked(path), pytest.raises(LogError, match="locked"):
            done(log.append(told))
        assert done(log.append(told)) == Appended(1, 0)

    def test_a_full_disk_fails_every_caller_and_recovers(self, log: EventLog) -> None:
        big = [recent(text="x" * 500, session_id=f"s{n}") for n in range(1_000)]
        assert done(log.append([recent()])) == Appended(1, 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        try:
            waiting = [log.append(big[at : at + 100]) for at in range(0, 1_000, 100)]
            told = [future.exception(30) for future in waiting]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        kept = 100 * sum(error is None for error in told)
        assert {type(error) for error in told if error is not None} == {LogError}
        assert len(log.scan()) == 1 + kept
        assert done(log.append(big)) == Appended(1_000 - kept, kept)

    def test_a_file_that_cannot_be_written_recovers(self, path: Path) -> None:
        """Permissions do not bind root, so a test run by root is somebody else for a while."""
        open_log_file(path).close()
        for parent in path.parents[1:3]:
            parent.chmod(0o755)
        path.chmod(0o444)
        path.parent.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        log = EventLog.open(path, SETTINGS, clock)
        try:
            for _ in range(2):
                with pytest.raises(LogError, match=r"log\.sqlite"):
                    done(log.append([recent()]))
        finally:
            if root:
                os.seteuid(0)
            path.parent.chmod(0o755)
            path.chmod(0o644)
        assert done(log.append([recent()])) == Appended(1, 0)
        log.close()

    def test_a_file_that_could_not_be_opened_at_the_start(self, tmp_path: Path) -> None:
        (tmp_path / "workspace").write_text("a file where the folder should be")
        log = EventLog.open(tmp_path / "workspace" / "log.sqlite", SETTINGS, clock)
        with pytest.raises(LogError, match=r"log\.sqlite"):
            done(log.append([recent()]))
        (tmp_path / "workspace").unlink()
        assert done(log.append([recent()])) == Appended(1, 0)
        log.close()

    def test_a_file_that_was_replaced_is_not_written_on(self, log: EventLog, path: Path) -> None:
        done(log.append([recent()]))
        for file in path.parent.glob("log.sqlite*"):
            file.unlink()
        assert done(log.append([recent()])) == Appended(1, 0)
        assert len(log.scan()) == 1


class Mute:
    """A service's log on a full disk, or whose reader has gone away."""

    def error(self, *_: object, **__: object) -> None:
        raise OSError("nobody listens")


class TestNobodyWaitsInVain:
    def test_where_the_failure_cannot_be_told(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("structlog.get_logger", lambda *_: Mute())
        path.mkdir()  # no database can be there
        log = EventLog.open(path, SETTINGS, clock)
        for _ in range(2):
            with pytest.raises(LogError, match=r"log\.sqlite"):
                done(log.append([recent()]))
        path.rmdir()
        assert done(log.append([recent()])) == Appended(1, 0)
        log.close()

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_where_the_writing_thread_ends(self, path: Path) -> None:
        begun = threading.Event()

        class Ends(EventLog):
            def _file(self) -> sqlite3.Connection:
                begun.wait(30)
                raise SystemExit

        log = Ends.open(path, SETTINGS, clock)
        waiting = [log.append([recent()]) for _ in range(3)]
        begun.set()
        for future in waiting:
            with pytest.raises(LogError, match=r"log\.sqlite"):
                done(future)
        with pytest.raises(LogError, match="closed"):
            log.append([recent()])
        log.close()


WRITER = """
import sys
import time
from pathlib import Path
from kindred.events.log import EventLog
from kindred.schemas.event import Action, Event
from kindred.schemas.settings import EventSettings

log = EventLog.open(Path(sys.argv[1]), EventSettings())
for n in range(10**9):
    events = [
        Event(event_id=f"{sys.argv[2]}-{n}-{k}", occurred_at=1, user_id="u", entity_id="i",
              action=Action.PURCHASE if n % 8 == 0 and k == 0 else Action.VIEW)
        for k in range(20)
    ]
    log.append(events).add_done_callback(
        lambda f, ids=[e.event_id for e in events]: print("\\n".join(ids), flush=True)
        if f.exception() is None else None)
    while log.waiting > 2000:
        time.sleep(0.001)
"""


def test_what_was_acknowledged_survives_kill_9(path: Path, log: EventLog) -> None:
    """The writer is killed at three moments; every id that it told must be there."""
    told: list[str] = []
    for start, lines in enumerate((40, 900, 4_000)):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(start)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _, line in zip(range(lines), writer.stdout, strict=False):
            told.append(line)
        os.kill(writer.pid, signal.SIGKILL)
        told += writer.stdout.read().splitlines(keepends=True)
        writer.wait()
    acknowledged = {line.rstrip() for line in told if line.endswith("\n")}
    assert len(acknowledged) >= 4_940
    assert acknowledged <= set(log.scan()["event_id"])
    done(log.append([recent(event_id="afterwards")]))
    assert "afterwards" in set(log.scan()["event_id"])
