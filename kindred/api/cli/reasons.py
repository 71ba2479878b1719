"""`kindred why-not` and `kindred preview`: questions about answers, without a service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from kindred.api.cli.output import json_option, print_json, print_notes, print_table
from kindred.schemas.workspace import Workspace

if TYPE_CHECKING:
    from kindred.api.ports import Engine
    from kindred.schemas.preview import Expected


@click.command()
@click.argument("question", type=click.File("rb"), default="-")
@json_option
@click.pass_obj
def why_not(context: dict[str, Path], question: BinaryIO, as_json: bool) -> None:
    """Tell the first stage that lost an item.

    QUESTION is a file (or - for standard input) with the body of POST /v1/why-not: a `request` as
    for /v1/similar, and the `item_id` that is missed in its answer.
    """
    from kindred.schemas.why import WhyNotRequest

    asked = _read(question, WhyNotRequest)
    workspace = Workspace(context["workspace"])
    with _engine(workspace) as engine:
        found = engine.why_not(asked)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found.item_id}: {found.reason}")
    if found.places:
        rows = list(found.places.items())
        print_table("places, 1 = first", ("behind", "place"), rows)
    if found.spaces:
        rows_of = [
            (d.space, f"{d.similarity:.3f}", None if d.weakest is None else f"{d.weakest:.3f}",
             d.rank, d.quota)
            for d in found.spaces
        ]  # fmt: skip
        print_table("how near", ("space", "cosine", "weakest found", "rank", "quota"), rows_of)


@click.command()
@click.argument("question", type=click.File("rb"), default="-")
@json_option
@click.pass_obj
def preview(context: dict[str, Path], question: BinaryIO, as_json: bool) -> None:
    """Compare answers under other settings or rules with those of now; change nothing.

    QUESTION is a file (or - for standard input) with the body of POST /v1/preview: a `request` as
    for /v1/similar, or how many logged decisions to `sample`, and the `settings` to try.
    """
    from kindred.schemas.preview import PreviewRequest

    asked = _read(question, PreviewRequest)
    workspace = Workspace(context["workspace"])
    with _engine(workspace) as engine:
        found = engine.preview(asked)
    if as_json:
        print_json(found)
        return
    print_notes(workspace)
    rows = [_row("current", found.current), _row("proposed", found.proposed)]
    title = f"{found.changed:,} of {found.questions:,} answers change"
    print_table(title, ("", "expected purchases", "expected fees (minor)", "NDCG cost"), rows)
    moves = [
        (one.seed, item, was, now)
        for one in found.lists
        for item, was, now in (
            *((m.item_id, m.before, m.after) for m in one.moved),
            *((p.item_id, None, p.place) for p in one.entered),
            *((p.item_id, p.place, None) for p in one.left),
        )
    ]
    if moves:
        print_table("what moves", ("seed", "item", "from", "to"), moves[:50])


def _row(name: str, told: Expected) -> tuple[str, str | None, str | None, str | None]:
    def cell(value: float | None, form: str) -> str | None:
        return None if value is None else format(value, form)

    return name, cell(told.purchases, ",.4f"), cell(told.fee_minor, ",.1f"), cell(told.ndcg, ".4f")


def _read(question: BinaryIO, kind: Any) -> Any:
    import msgspec

    from kindred.schemas.errors import InputError
    from kindred.schemas.faults import decode, fault_of

    try:
        return decode(msgspec.json.Decoder(kind), question.read())
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        path, reason = fault_of(error, "the question")
        raise InputError(reason, path) from error


@contextmanager
def _engine(workspace: Workspace) -> Iterator[Engine]:
    """The engine of a serving process, which logs no decisions here."""
    import msgspec

    from kindred.api.wiring import load_settings, open_engine

    settings = load_settings(workspace.settings, os.environ)
    quiet = msgspec.structs.replace(settings.decisions, log=False)
    # There is no caller who waits: no stage gives way.
    patient = msgspec.structs.replace(settings.api, deadline_ms=60_000)
    settings = msgspec.structs.replace(settings, decisions=quiet, api=patient)
    engine = open_engine(workspace, settings, f"cli-{os.getpid()}")
    try:
        yield engine
    finally:
        engine.close()
