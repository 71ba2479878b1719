"""`kindred import`: items and events from files and from named data sets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kindred.api.cli.output import json_option, print_json, terminal_progress
from kindred.schemas.errors import InputError
from kindred.schemas.workspace import Workspace

if TYPE_CHECKING:
    from kindred.indexer.importing import ImportReport
    from kindred.indexer.readers.fields import Fields
    from kindred.indexer.readers.mapping import ColumnMap
    from kindred.indexer.readers.records import RecordSource
    from kindred.schemas.settings import KindredSettings

Command = TypeVar("Command", bound=Callable[..., Any])

NOTHING_WENT_IN = 1

_OPTIONS = (
    click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path)),
    click.option(
        "--map", "maps", multiple=True, metavar="FIELD=COLUMN",
        help="Our field from their column: `column`, `column*100`, or columns joined by `+`.",
    ),
    click.option(
        "--set", "constants", multiple=True, metavar="FIELD=VALUE",
        help="A value where no column gives one.",
    ),
    click.option(
        "--split", "separators", multiple=True, metavar="FIELD=SEPARATOR",
        help="Part a text into a list.",
    ),
    click.option(
        "--rename", "renamed", multiple=True, metavar="FIELD:THEIRS=OURS",
        help="A word of theirs as a word of ours.",
    ),
    click.option(
        "--time-unit", type=click.Choice(["auto", "s", "ms", "us"]), default="auto",
        show_default=True, help="Unit of numeric times; auto tells it by their size.",
    ),
    click.option("--truncate", is_flag=True, help="Cut texts that are too long."),
    click.option(
        "--reader", type=click.Choice(["complete-journey", "amazon-office", "grocery", "fashion"]),
        help="A named data set: of a package, or of the folder that FILES names.",
    ),
    click.option(
        "--slice", "products", type=click.IntRange(min=1),
        help="Of a named data set only this many products, and what belongs to them.",
    ),
)  # fmt: skip


_WITHOUT_PICTURES = click.option(
    "--without-pictures", is_flag=True,
    help="Of fashion also the items that have no picture.",
)  # fmt: skip


def _import_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return json_option(command)


@click.group()
def command() -> None:
    """Bring items or events in from Parquet, CSV or JSON lines.

    A column that bears the name of a field needs no --map. Rows that break the contract are
    written to the workspace's folder `rejects`, and the rest goes in. The same file again changes
    nothing. Exits with 1 when nothing went in.
    """


@command.command("items")
@_import_options
@_WITHOUT_PICTURES
@click.pass_obj
def import_items_command(
    context: dict[str, Path],
    /,
    files: tuple[Path, ...],
    products: int | None,
    reader: str | None,
    without_pictures: bool,
    as_json: bool,
    **told: Any,
) -> None:
    """Upsert the items of FILES into the catalogue."""
    from kindred.indexer.catalogue import Catalogue
    from kindred.indexer.importing import import_items
    from kindred.indexer.readers.fields import ITEM_FIELDS

    workspace, settings = _workspace(context)
    wanted = _column_map(told)
    if reader == "fashion":
        sources = _fashion(files, products, without_pictures, workspace)
    else:
        sources = _sources("items", files, reader, products, wanted, ITEM_FIELDS, settings)
    _keep_relations(sources, workspace)
    catalogue = Catalogue.open(workspace.catalogue)
    try:
        report = import_items(
            sources, catalogue, workspace.rejects, settings.imports, terminal_progress(),
            truncate=wanted.truncate,
        )  # fmt: skip
    finally:
        catalogue.close()
    _tell(report, as_json=as_json)


@command.command("events")
@_import_options
@click.option(
    "--start", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), default="2000-01-01",
    show_default=True, help="Time (UTC) of the first row, where rows tell no time.",
)  # fmt: skip
@click.pass_obj
def import_events_command(
    context: dict[str, Path],
    /,
    files: tuple[Path, ...],
    products: int | None,
    reader: str | None,
    start: datetime,
    as_json: bool,
    **told: Any,
) -> None:
    """Add the events of FILES to the lake.

    Where rows tell no time, their order is time: one second for each row from --start, one
    microsecond for each place in a list. Where they tell no id, the file and the row are it.
    """
    from kindred.events.lake import Lake
    from kindred.indexer.catalogue import Catalogue
    from kindred.indexer.importing import import_events
    from kindred.indexer.readers.fields import EVENT_FIELDS

    workspace, settings = _workspace(context)
    moment = int(start.replace(tzinfo=UTC).timestamp()) * 1_000_000
    wanted = _column_map({**told, "start": moment})
    sources = _sources("events", files, reader, products, wanted, EVENT_FIELDS, settings)
    catalogue = Catalogue.open(workspace.catalogue)
    try:
        report = import_events(
            sources, Lake(workspace.lake), workspace.rejects, settings.imports,
            terminal_progress(), start=moment, catalogue=catalogue,
        )  # fmt: skip
    finally:
        catalogue.close()
    _tell(report, as_json=as_json)


def _workspace(context: dict[str, Path]) -> tuple[Workspace, KindredSettings]:
    import os

    from kindred.api.settings_file import load_settings

    workspace = Workspace(context["workspace"])
    return workspace, load_settings(workspace.settings, os.environ)


def _column_map(told: dict[str, Any]) -> ColumnMap:
    from kindred.indexer.readers.mapping import ColumnMap, parse_pairs, parse_renamed

    return ColumnMap(
        columns=parse_pairs("map", told.pop("maps")),
        constants=parse_pairs("set", told.pop("constants")),
        separators=parse_pairs("split", told.pop("separators")),
        renamed=parse_renamed(told.pop("renamed")),
        **told,
    )


def _sources(
    what: str,
    files: tuple[Path, ...],
    reader: str | None,
    products: int | None,
    wanted: ColumnMap,
    fields: Fields,
    settings: KindredSettings,
) -> list[RecordSource]:
    from kindred.indexer.readers.complete_journey import JourneyRecords, complete_journey
    from kindred.indexer.readers.files import open_table
    from kindred.indexer.readers.named import READERS, NamedRecords, read_named
    from kindred.indexer.readers.records import read_table

    if reader == "fashion":
        raise InputError("fashion has items alone: nobody bought anything in it", "$.reader")
    if reader is not None and reader in READERS:
        if len(files) != 1 or not files[0].is_dir():
            raise InputError(f"--reader {reader} reads one folder: name it", "$.files")
        if products is not None:
            raise InputError(f"--reader {reader} has no --slice", "$.slice")
        return [NamedRecords(read_named(reader, files[0], wanted.start), what, reader)]
    if reader is not None:
        if files:
            raise InputError(f"--reader {reader} brings its own data: name no files", "$.files")
        return [JourneyRecords(complete_journey(products, settings.seed), what)]
    if products is not None:
        raise InputError("--slice belongs to --reader", "$.slice")
    if not files:
        raise InputError("name the files to import, or a data set with --reader", "$.files")
    for path in files:
        if path.is_dir():
            raise InputError(f"{path} is a folder: only some of --reader read one", "$.files")
    return [read_table(open_table(path), wanted, fields) for path in files]


def _keep_relations(sources: list[RecordSource], workspace: Workspace) -> None:
    """Judgments of a named data set, for evaluations; nothing is trained from them."""
    from kindred.indexer.readers.named import NamedRecords

    for source in sources:
        found = source.data.relations() if isinstance(source, NamedRecords) else None
        if found is not None:
            workspace.relations.parent.mkdir(parents=True, exist_ok=True)
            found.write_parquet(workspace.relations)


def _fashion(
    files: tuple[Path, ...], products: int | None, without_pictures: bool, workspace: Workspace
) -> list[RecordSource]:
    from kindred.indexer.readers.fashion import Fashion, FashionRecords

    if len(files) != 1 or not files[0].is_dir():
        raise InputError("--reader fashion takes the data set's folder", "$.files")
    data = Fashion(files[0], products, all_items=without_pictures)
    return [FashionRecords(data, workspace.pictures)]


def _tell(report: ImportReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        for note in report.notes:
            click.echo(note, err=True)
        cut = f", {report.cut:,} with a text cut" if report.cut else ""
        click.echo(
            f"{report.what}: {report.accepted:,} new or changed, {report.unchanged:,} there "
            f"already, {report.rejected:,} refused, of {report.read:,} read in "
            f"{report.seconds:.1f} s{cut}"
        )
        for path in report.rejects_files:
            click.echo(f"refused rows, with reasons: {path}")
    if report.read == report.rejected:
        raise SystemExit(NOTHING_WENT_IN)
