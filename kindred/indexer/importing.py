"""Bulk import: records of files and data sets into the catalogue and the event lake.

Rows that break their contract go to a reject file with reason and path; the rest goes in. The same
source again changes nothing. A kill at any moment loses nothing that is in, and the same import
again takes in the rest, each record once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec
import polars as pl

from kindred.events.contract import EVENT_SCHEMA, contract_problems, event_columns, first_problems
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.pricing import ListingFacts, format_problems
from kindred.indexer.readers.items import item_of
from kindred.indexer.readers.mapping import DEFAULT_START
from kindred.indexer.readers.records import Records, RecordSource
from kindred.indexer.readers.rejects import Rejects
from kindred.indexer.readers.staging import StagedItems
from kindred.schemas.errors import InputError
from kindred.schemas.item import Item
from kindred.schemas.progress import Progress, SilentProgress
from kindred.schemas.settings import ImportSettings

_UPSERTED_AT_ONCE = 5_000
_DECODED_AT_ONCE = 50_000
_SECOND = 1_000_000
_Kept = TypeVar("_Kept")


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an import: read = accepted + unchanged + rejected."""

    what: str
    """`items` or `events`"""
    read: int
    """Records, one for each element where a row holds a list."""
    accepted: int
    """Records that are new or changed what was there."""
    unchanged: int
    """Records that were there already, or were told again later in the same import."""
    rejected: int
    """Records that break their contract, and rows that cannot be read."""
    cut: int
    """Records of which a text was cut."""
    rejects_file: str | None
    """Where the refused ones are, with reason and path; the first of `rejects_files`."""
    rejects_files: list[str]
    notes: list[str]
    seconds: float


class _Checked(NamedTuple, Generic[_Kept]):
    """What of some records is fit to keep."""

    kept: _Kept
    found: pl.DataFrame
    """What is wrong with the others: `index`, `path`, `reason`"""
    cut: int


class _Intake:
    """Reads sources to their end, writes what is refused, and counts."""

    def __init__(self, rejects: Path, rows_at_once: int, progress: Progress) -> None:
        self.read = self.rejected = self.cut = 0
        self.rejects_files: list[str] = []
        self._rejects, self._rows_at_once, self._progress = rejects, rows_at_once, progress

    def kept(
        self,
        sources: Sequence[RecordSource],
        check: Callable[[RecordSource, Records], _Checked[_Kept]],
    ) -> Iterator[_Kept]:
        """What `check` keeps of each chunk."""
        for source in sources:
            with (
                Rejects(self._rejects, source) as refused,
                self._progress.task(f"reading {source.name}", source.count()) as advance,
            ):
                for records in source.records(self._rows_at_once):
                    kept, found, cut = check(source, records)
                    refused.add_broken(records)
                    refused.add_found(records, found)
                    self.read += records.frame.height + len(records.broken)
                    self.cut += cut
                    yield kept
                    advance(records.source.height + len(records.broken))
            self.rejected += refused.count
            if refused.count:
                self.rejects_files.append(str(refused.path))

    def report(
        self, what: str, sources: Sequence[RecordSource], accepted: int, began: float
    ) -> ImportReport:
        """The counts, once `accepted` records are in."""
        return ImportReport(
            what=what,
            read=self.read,
            accepted=accepted,
            unchanged=self.read - self.rejected - accepted,
            rejected=self.rejected,
            cut=self.cut,
            rejects_file=next(iter(self.rejects_files), None),
            rejects_files=self.rejects_files,
            notes=[note for source in sources for note in source.notes],
            seconds=round(time.monotonic() - began, 3),
        )


def import_items(
    sources: Sequence[RecordSource],
    catalogue: Catalogue,
    rejects: Path,
    settings: ImportSettings,
    progress: Progress | None = None,
    *,
    truncate: bool = False,
) -> ImportReport:
    """Put the items of `sources` into the catalogue; of an id told twice the last one counts."""
    began, progress = time.monotonic(), progress or SilentProgress()
    at_once = min(settings.chunk_rows, _DECODED_AT_ONCE)
    intake, accepted = _Intake(rejects, at_once, progress), 0

    def check(_: RecordSource, records: Records) -> _Checked[list[Item]]:
        return _checked_items(records, truncate=truncate)

    with StagedItems() as staged:
        for items in intake.kept(sources, check):
            staged.add(items)
        with progress.task("writing items", len(staged)) as advance:
            for batch in staged.batches(_UPSERTED_AT_ONCE):
                accepted += catalogue.upsert(batch).accepted
                advance(len(batch))
    return intake.report("items", sources, accepted, began)


def import_events(
    sources: Sequence[RecordSource],
    lake: Lake,
    rejects: Path,
    settings: ImportSettings,
    progress: Progress | None = None,
    *,
    start: int = DEFAULT_START,
    catalogue: Catalogue | None = None,
) -> ImportReport:
    """Put the events of `sources` into the lake.

    Priced actions keep what `catalogue` says of their item at the time, and are refused where the
    item's formats do not allow them.

    Without a time, the row's number counts seconds from `start` (microseconds UTC), and the place
    in the row's list microseconds. Without an id, the source's digest and the row's number are it.
    """
    began, progress = time.monotonic(), progress or SilentProgress()
    intake = _Intake(rejects, settings.chunk_rows, progress)
    facts = None if catalogue is None else ListingFacts(catalogue.listings)

    def check(source: RecordSource, records: Records) -> _Checked[pl.DataFrame]:
        events = _identified(records, source.digest, start)
        return _checked_events(events if facts is None else facts.fill(events), records)

    with lake.bulk() as bulk:
        staged = 0
        for events in intake.kept(sources, check):
            bulk.add(events)
            staged += events.height
        with progress.task("writing events", staged) as advance:
            appended = bulk.commit(advance)
    return intake.report("events", sources, appended.new, began)


def _checked_items(records: Records, *, truncate: bool) -> _Checked[list[Item]]:
    found = first_problems(records.checks, records.problems)
    refused = {index: (path, reason) for index, path, reason in found.iter_rows()}
    items, cuts = [], 0
    told = records.frame.with_row_index("index")
    if records.places is not None:  # lists name the same item often, and nothing else of it
        told = told.filter(records.frame.to_struct().is_last_distinct())
    for record in told.iter_rows(named=True):
        index = record.pop("index")
        if index in refused:
            continue
        try:
            item, cut = item_of(record, truncate=truncate)
        except InputError as e:
            refused[index] = (e.path, e.message)
        else:
            items.append(item)
            cuts += cut
    rows = [(index, *why) for index, why in sorted(refused.items())]
    return _Checked(items, pl.DataFrame(rows, found.schema, orient="row"), records.cut + cuts)


def _checked_events(events: pl.DataFrame, records: Records) -> _Checked[pl.DataFrame]:
    told = pl.concat([events, records.checks], how="horizontal")
    found = first_problems(told, [*records.problems, *contract_problems(), *format_problems()])
    whole = events.with_row_index("index").join(found, on="index", how="anti").drop("index")
    return _Checked(whole.select(EVENT_SCHEMA.names()), found, records.cut)


def _identified(records: Records, digest: str, start: int) -> pl.DataFrame:
    """The records as event columns, with a time and an id where they tell none."""
    numbered = records.frame.with_columns(row=records.rows, place=pl.lit(0))
    name = pl.format(f"{digest}-{{}}", "row")
    if records.places is not None:
        numbered = numbered.with_columns(place=records.places)
        name = pl.format(f"{digest}-{{}}-{{}}", "row", "place")
    moment = pl.col("occurred_at") if "occurred_at" in numbered else start + pl.col("row") * _SECOND
    told = pl.col("event_id") if "event_id" in numbered else pl.lit(None, pl.String)
    return event_columns(
        numbered.with_columns(
            event_id=pl.coalesce(told, name), occurred_at=moment + pl.col("place")
        )
    )
