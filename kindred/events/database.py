"""SQLite files that several processes write: how a connection is opened and tables are brought up
to date."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

WAIT_S = 10.0
_LOOK_S = 0.001


class Tables(NamedTuple):
    """The tables of a file, by format: step i brings a file of format i to format i + 1."""

    what: str
    """What the file is, for messages."""
    steps: tuple[str, ...]
    """SQL statements, parted by semicolons; a step that has been released never changes."""


@contextmanager
def translated(subject: str, error: Callable[[str], Exception]) -> Iterator[None]:
    """`error` for what SQLite or the file system says of the `subject`."""
    try:
        yield
    except (sqlite3.Error, OSError) as failure:
        raise error(f"{subject}: {failure}") from failure


def connect(path: Path, wait_s: float = WAIT_S) -> sqlite3.Connection:
    """A connection that threads may share under a lock and that waits for other processes."""
    db = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = FULL")
    return db


def open_file(
    path: Path, tables: Tables, error: Callable[[str], Exception], wait_s: float = WAIT_S
) -> sqlite3.Connection:
    """A connection to the file at `path`, made when missing, with its tables up to date.

    sqlite3.Error and OSError where it fails, `error` for a file of a later version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = connect(path, wait_s)
    try:
        prepare(db, tables, error, wait_s)
    except BaseException:
        db.close()
        raise
    return db


def open_log(
    path: Path, tables: Tables, error: Callable[[str], Exception], wait_s: float = WAIT_S
) -> sqlite3.Connection:
    """`open_file` for much that is written: checkpoints are seldom, and the journal stays small."""
    db = open_file(path, tables, error, wait_s)
    try:
        db.execute("PRAGMA wal_autocheckpoint = 4000")
        db.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        db.close()
        raise
    return db


class Kept:
    """A file that one process both reads and writes, safe for several of its threads.

    One connection reads and one writes, each under its lock. What SQLite or the file system says
    is raised as `error`, after which the file serves on as soon as the cause is gone.
    """

    def __init__(
        self,
        path: Path,
        tables: Tables,
        error: Callable[[str], Exception],
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
    ) -> None:
        """Opens the file at `path`, made when missing; `error`.

        With NORMAL the newest writes survive the end of the process, not that of the machine.
        """
        self._what, self._error = tables.what, error
        self._reading, self._writing = threading.Lock(), threading.Lock()
        with translated(f"{self._what} {path}", error):
            self._writer = open_file(path, tables, error)
            try:
                self._writer.execute(f"PRAGMA synchronous = {synchronous}")
                self._reader = connect(path)
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The connection that reads."""
        with translated(self._what, self._error), self._reading:
            yield self._reader

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, in a transaction that an exception takes back."""
        with translated(self._what, self._error), self._writing, transaction(self._writer):
            yield self._writer

    def close(self) -> None:
        """Release the files."""
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()


def file_number(path: Path) -> int | None:
    """The file at `path`, None where there is none: another number is another file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def connect_reader(
    path: Path, wait_s: float = WAIT_S, mapped: int = 0
) -> sqlite3.Connection | None:
    """A connection that only reads; None where there is no file, or no tables in it yet.

    mapped: bytes of the file that are read where they lie. sqlite3.Error.
    """
    if not path.exists():
        return None
    where = f"file:{quote(bytes(path))}?mode=ro"
    db = sqlite3.connect(
        where, uri=True, timeout=wait_s, isolation_level=None, check_same_thread=False
    )
    try:
        if _format(db):
            db.execute(f"PRAGMA mmap_size = {mapped}")
            return db
    except BaseException:
        db.close()
        raise
    db.close()
    return None


@contextmanager
def reading(
    path: Path, what: str, error: Callable[[str], Exception]
) -> Iterator[sqlite3.Connection | None]:
    """`connect_reader` for a while; `error` where the `what` at `path` cannot be read."""
    with translated(f"the {what} {path}", error):
        db = connect_reader(path)
        if db is None:
            yield None
            return
        with closing(db):
            yield db


class Readers:
    """`connect_reader` once for each thread, and again where another file has taken its place."""

    def __init__(self, path: Path, wait_s: float = WAIT_S, mapped: int = 0) -> None:
        self._path, self._wait_s, self._mapped = path, wait_s, mapped
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._opened: set[sqlite3.Connection] = set()

    def connection(self) -> sqlite3.Connection | None:
        """This thread's connection; None as `connect_reader` says. sqlite3.Error, OSError."""
        held: tuple[int | None, sqlite3.Connection] | None = getattr(self._mine, "held", None)
        number = file_number(self._path)
        if held is not None:
            if held[0] == number:
                return held[1]
            self._mine.held = None
            with self._lock:
                self._opened.discard(held[1])
            held[1].close()
        # The number is from before the file was opened: replaced between the two, it is opened
        # once too often, never once too seldom.
        db = connect_reader(self._path, self._wait_s, self._mapped)
        if db is not None:
            self._mine.held = number, db
            with self._lock:
                self._opened.add(db)
        return db

    def close(self) -> None:
        """Release the files; no thread may be reading."""
        with self._lock:
            for db in self._opened:
                db.close()
            self._opened.clear()
            self._mine = threading.local()


def prepare(
    db: sqlite3.Connection,
    tables: Tables,
    error: Callable[[str], Exception],
    wait_s: float = WAIT_S,
) -> None:
    """Make the tables, or bring older ones up to date, once: whichever process comes first.

    A file of a later version raises `error`.
    """
    newest = len(tables.steps)
    if _format(db) < newest:
        _use_wal(db, wait_s)
        with transaction(db, wait_s):
            for step in tables.steps[_format(db) :]:
                for statement in filter(str.strip, step.split(";")):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {max(newest, _format(db))}")
    if (found := _format(db)) != newest:
        raise error(f"the format of the {tables.what} is {found}, this version reads {newest}")


@contextmanager
def transaction(db: sqlite3.Connection, wait_s: float = WAIT_S) -> Iterator[None]:
    """A transaction that writes, which an exception takes back.

    sqlite3.OperationalError where others write for `wait_s`.
    """
    _begin(db, wait_s)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _begin(db: sqlite3.Connection, wait_s: float) -> None:
    """Begin a transaction that writes.

    SQLite's own wait looks ever more seldom, ten times a second in the end: beside a process that
    commits without pause it may come away with nothing for seconds. Looking every millisecond
    gives each its turn.
    """
    db.execute("PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_S)
    finally:
        db.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")


def _use_wal(db: sqlite3.Connection, wait_s: float) -> None:
    """Change the journal's mode, for which SQLite does not wait by itself."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _format(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
