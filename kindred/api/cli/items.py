"""`kindred items`: look at the catalogue, and withdraw from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from kindred.api.cli.output import json_option, print_json, print_table
from kindred.schemas.errors import InputError, NotBuilt, UnknownItem
from kindred.schemas.workspace import Workspace

if TYPE_CHECKING:
    from kindred.indexer.catalogue import Catalogue


@click.group()
def command() -> None:
    """Show, upsert and withdraw items. `kindred import items` takes whole files."""


@command.command("list")
@click.option("--after", type=int, default=-1, help="Begin behind this row.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most."
)
@json_option
@click.pass_obj
def list_items(context: dict[str, Path], after: int, limit: int, as_json: bool) -> None:
    """List items by row, withdrawn ones too."""
    with _catalogue(context) as catalogue:
        listed = catalogue.page(after, limit)
        count, active = catalogue.count, catalogue.active
    if as_json:
        items = [{"row": row, "item": item} for row, item in listed]
        print_json({"count": count, "active": active, "items": items})
        return
    rows = [
        (row, i.item_id, i.title, " > ".join(i.category), i.price_minor, i.currency, i.status.value)
        for row, i in listed
    ]
    columns = ("row", "item", "title", "category", "price (minor)", "currency", "status")
    print_table(f"{count:,} items, {active:,} of them active", columns, rows)


@command.command("get")
@click.argument("item_id")
@json_option
@click.pass_obj
def get_item(context: dict[str, Path], item_id: str, as_json: bool) -> None:  # noqa: ARG001
    """Print one item."""
    with _catalogue(context) as catalogue:
        item = catalogue.get(item_id)
    if item is None:
        raise UnknownItem(item_id)
    print_json(item)


@command.command("upsert")
@click.argument("items", type=click.File("rb"), default="-")
@json_option
@click.pass_obj
def upsert_items(context: dict[str, Path], items: BinaryIO, as_json: bool) -> None:
    """Upsert items told as JSON lines in a file or on standard input.

    All of them, or none where one breaks the contract.
    """
    import msgspec

    from kindred.schemas.faults import decode, fault_of
    from kindred.schemas.item import Item

    decoder = msgspec.json.Decoder(Item)
    told = []
    for number, line in enumerate(items):
        if not line.strip():
            continue
        try:
            told.append(decode(decoder, line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as e:
            path, reason = fault_of(e, "the line")
            raise InputError(reason, f"$[{number}]{path[1:]}") from e
    with _catalogue(context, create=True) as catalogue:
        result = catalogue.upsert(told)
    if as_json:
        print_json(
            {
                "accepted": result.accepted,
                "unchanged": result.unchanged,
                "sequence": result.sequence,
            }
        )
    else:
        click.echo(f"{result.accepted:,} new or changed, {result.unchanged:,} there already")


@command.command("withdraw")
@click.argument("item_ids", nargs=-1, required=True)
@json_option
@click.pass_obj
def withdraw_items(context: dict[str, Path], item_ids: tuple[str, ...], as_json: bool) -> None:
    """Mark items as ended: they are recommended no more, and keep their rows."""
    with _catalogue(context) as catalogue:
        result = catalogue.withdraw(item_ids)
    if as_json:
        print_json(
            {
                "withdrawn": result.accepted,
                "unchanged": result.unchanged,
                "unknown": result.unknown,
                "sequence": result.sequence,
            }
        )
    else:
        click.echo(f"{result.accepted:,} withdrawn, {result.unchanged:,} had ended already")
    if result.unknown:
        raise UnknownItem(result.unknown[0])


@contextmanager
def _catalogue(context: dict[str, Path], *, create: bool = False) -> Iterator[Catalogue]:
    from kindred.indexer.catalogue import Catalogue

    path = Workspace(context["workspace"]).catalogue
    if not create and not path.exists():
        raise NotBuilt(f"no catalogue at {path}: `kindred import items` makes one")
    catalogue = Catalogue.open(path)
    try:
        yield catalogue
    finally:
        catalogue.close()
