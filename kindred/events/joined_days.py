"""Where the join over the lake keeps what it has done: days of rows, days of links, their states.

`joined/dt=YYYY-MM-DD/part-<hash of its bytes>.parquet` holds the rows of the day's decisions;
`links/dt=YYYY-MM-DD/` what the day's events belong to (`links.parquet`) and the rows that they
clicked first (`clicked.parquet`). A `state.json` beside them says what they were made from. It is
removed before they change and written after, so a day that a kill left between is done again.
A day's folder holds exactly one part at every moment, and the same one while somebody reads
(`reading_joined`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import msgspec
import polars as pl

from kindred.events.files import changing, sync, try_lock, unchanged
from kindred.events.lake import Lake
from kindred.events.linking import CLICKED_SCHEMA, LINK_SCHEMA, Linked, Tally
from kindred.events.moments import CLOCK_LAG
from kindred.events.shown import JOINED
from kindred.schemas.clock import DAY, EPOCH
from kindred.schemas.errors import ArtefactError

_STATE = "state.json"
_LINKS, _CLICKED = "links.parquet", "clicked.parquet"


class LinkState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the links of a day of events were made from, and what they are."""

    inputs: dict[str, str]
    as_of: int
    rows: dict[str, str]
    """Fingerprint of the links to the decisions of each day (its number since 1970)."""
    clicked: str
    """Fingerprint of the rows first clicked."""
    tally: Tally


class DayState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the rows of a day of decisions were made from, and what they are."""

    inputs: dict[str, str]
    as_of: int
    rows: int
    censored: int
    open_until: int
    """The earliest moment at which a censored row is final; rows stay as they are until then."""


State = TypeVar("State", LinkState, DayState)


class JoinedDays:
    """The folders `joined` and `links` of a lake."""

    def __init__(self, lake: Path) -> None:
        self._joined = lake / "joined"
        self._links = lake / "links"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else joins meanwhile. ArtefactError where somebody does, or the disk fails."""
        with self._translated():
            self._joined.mkdir(parents=True, exist_ok=True)
            self._links.mkdir(exist_ok=True)
            with self._ours() as ours:
                if not ours:
                    raise ArtefactError(f"another join is at work in {self._joined}")
                yield

    @contextmanager
    def _ours(self) -> Iterator[bool]:
        lock = self._joined / ".lock"
        lock.touch()
        with try_lock(lock) as ours:
            yield ours

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.PolarsError) as e:
            raise ArtefactError(f"the join in {self._joined} failed: {e}") from e

    def link_states(self) -> dict[int, LinkState]:
        """State by day, of the days whose links are whole."""
        return _states(self._links, LinkState)

    def day_states(self) -> dict[int, DayState]:
        """State by day, of the days whose rows are whole."""
        return _states(self._joined, DayState)

    def put_links(self, day: int, linked: Linked, inputs: dict[str, str], as_of: int) -> LinkState:
        """Replace what the events of a day belong to; durable when it returns."""
        folder = _begin(self._links, day)
        links = linked.links.sort("decided_at", "decision_id", "position", "occurred_at")
        _write(links, folder / _LINKS)
        _write(linked.clicked, folder / _CLICKED)
        every = pl.struct(pl.all())
        by_day = fingerprints(links, every, "decided_at", pl.lit(value=True))
        clicked = fingerprints(linked.clicked, every, pl.lit(0), pl.lit(value=True))
        state = LinkState(
            inputs=inputs,
            as_of=as_of,
            rows={str(d): fingerprint for (d, _), fingerprint in by_day.items()},
            clicked=clicked.get((0, True), ""),
            tally=linked.tally,
        )
        _finish(folder, state)
        return state

    def put_day(self, day: int, rows: pl.DataFrame, state: DayState) -> None:
        """Replace the rows of a day's decisions (`JOINED_SCHEMA`); durable when it returns."""
        folder = _begin(self._joined, day)
        aside = folder / ".aside"
        _write(rows, aside)
        name = f"part-{blake2b(aside.read_bytes(), digest_size=16).hexdigest()}.parquet"
        with changing(self._joined):
            parts = sorted(folder.glob("part-*.parquet"))
            # Over the old part, then to the new name: whoever looks sees one part.
            whole = parts[0] if parts else folder / name
            aside.replace(whole)
            for more in parts[1:]:
                more.unlink()
            whole.replace(folder / name)
        sync(folder)
        _finish(folder, state)

    def drop_future(self, as_of: int) -> None:
        """Remove days that saw what lies at or after `as_of`; links see an hour past their day."""
        for parent, states, beyond in (
            (self._joined, self.day_states(), 0),
            (self._links, self.link_states(), CLOCK_LAG),
        ):
            for folder in parent.glob("dt=*"):
                day = _number(folder)
                state = states.get(day)
                if (day + 1) * DAY + beyond > as_of and (state is None or state.as_of > as_of):
                    self._remove(folder)

    def expire(self, first: int) -> list[str]:
        """Remove days before `first` (its number since 1970): rows, links and clicks.

        Returns their names, such as `links/dt=2025-11-20`; none while somebody joins: next time.
        ArtefactError.
        """
        held = [f for parent in (self._joined, self._links) for f in parent.glob("dt=*")]
        old = sorted(folder for folder in held if _number(folder) < first)
        if not old:
            return []
        with self._translated(), self._ours() as ours:
            if not ours:
                return []
            for folder in old:
                self._remove(folder)
        return [f"{folder.parent.name}/{folder.name}" for folder in old]

    def _remove(self, folder: Path) -> None:
        (folder / _STATE).unlink(missing_ok=True)  # first: what a kill leaves is no whole day
        with changing(self._joined):
            shutil.rmtree(folder)

    def links(self, days: list[int], since: int, until: int) -> pl.DataFrame:
        """Links of the events of `days` to decisions with since <= time < until."""
        found = [
            pl.scan_parquet(self._links / _name(day) / _LINKS).filter(
                pl.col("decided_at").is_between(since, until, closed="left")
            )
            for day in days
        ]
        return pl.concat([LINK_SCHEMA.to_frame().lazy(), *found]).collect()

    def clicked(self, days: list[int], since: int) -> pl.DataFrame:
        """Rows first clicked on one of `days`, at `since` or after it."""
        found = [
            pl.scan_parquet(self._links / _name(day) / _CLICKED).filter(
                pl.col("clicked_at") >= since
            )
            for day in days
        ]
        return pl.concat([CLICKED_SCHEMA.to_frame().lazy(), *found]).collect()


@contextmanager
def reading_joined(
    lake: Path, since: int | None = None, until: int | None = None
) -> Iterator[pl.LazyFrame]:
    """Rows with since <= time < until (`JOINED_SCHEMA`); no join replaces them meanwhile."""
    with unchanged(lake / JOINED.folder):
        yield Lake(lake, JOINED).scan(since, until)


def fingerprints(
    frame: pl.DataFrame | pl.LazyFrame, what: pl.Expr, when: str | pl.Expr, part: pl.Expr
) -> dict[tuple[int, bool], str]:
    """By day of `when` and `part`: a hash of the set of values `what`, whatever their order."""
    day = (pl.col(when) if isinstance(when, str) else when) // DAY
    hashed = what.hash()
    counted = (
        frame.lazy()
        .group_by(day.alias("day"), part.alias("part"))
        .agg(
            pl.len(),
            low=(hashed % 2**32).sum(),  # in halves: their sums do not overflow
            high=(hashed // 2**32).sum(),
        )
        .collect(engine="streaming")
    )
    return {(day, part): f"{n}-{low:x}-{high:x}" for day, part, n, low, high in counted.iter_rows()}


def _name(day: int) -> str:
    return f"dt={EPOCH + timedelta(day)}"


def _number(folder: Path) -> int:
    return (date.fromisoformat(folder.name[3:]) - EPOCH).days


def _begin(parent: Path, day: int) -> Path:
    folder = parent / _name(day)
    folder.mkdir(exist_ok=True)
    (folder / _STATE).unlink(missing_ok=True)
    sync(folder)
    return folder


def _write(frame: pl.DataFrame, path: Path) -> None:
    aside = path.with_name(".aside")
    frame.write_parquet(aside, compression="zstd", row_group_size=100_000)
    sync(aside)
    aside.replace(path)


def _finish(folder: Path, state: LinkState | DayState) -> None:
    aside = folder / f".{_STATE}"
    aside.write_bytes(msgspec.json.encode(state))
    sync(aside)
    aside.replace(folder / _STATE)
    sync(folder)
    sync(folder.parent)


def _states(parent: Path, kind: type[State]) -> dict[int, State]:
    found = {}
    for path in sorted(parent.glob(f"dt=*/{_STATE}")):
        try:
            found[_number(path.parent)] = msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.DecodeError as e:
            raise ArtefactError(f"{path} is damaged ({e}): remove it, and join again") from e
    return found
