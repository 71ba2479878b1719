"""`kindred models`: trained versions, their cards, and the way back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kindred.api.cli.cards import card_tables
from kindred.api.cli.output import json_option, print_json, print_table
from kindred.schemas.model import Card
from kindred.schemas.workspace import Workspace

if TYPE_CHECKING:
    from kindred.indexer.models import ModelStore

MOMENTS = ("inputs.until", "inputs.start")
"""Inputs that are µs."""


class Listed(msgspec.Struct, frozen=True):
    """One version in `kindred models list`."""

    stage: str
    version: str
    state: str
    """`current`, `kept`, `refused` (its gate did not pass) or `withdrawn` (rolled back from)."""
    reason: str
    """The gate's words."""
    created: int
    seconds: float
    metrics: dict[str, Any]
    start: str | None = None
    """Version that its training started from."""


class Switched(msgspec.Struct, frozen=True):
    """A stage's version in use, before and now."""

    stage: str
    before: str | None
    now: str


@click.group()
def command() -> None:
    """List model versions with their cards; bring one into use, or go back."""


@command.command("list")
@click.argument("stage", required=False)
@json_option
@click.pass_obj
def list_versions(context: dict[str, Path], stage: str | None, as_json: bool) -> None:
    """List the versions of STAGE, or of every stage, oldest first."""
    store = _store(context)
    found = [
        listed
        for name in ([stage] if stage else sorted(store.stages(), key=_in_the_past))
        for version in store.versions(name)
        if (listed := _listed(store, name, version))
    ]
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("No version yet: `kindred train` makes one.")
        return
    print_table(
        "",
        ["stage", "version", "state", "made", "seconds", "start", "metrics", "gate"],
        [
            [v.stage, v.version, v.state, _when(v.created), round(v.seconds, 1), v.start,
             _headline(v.metrics), v.reason]
            for v in found
        ],
        spare=("made", "metrics", "seconds", "start"),
    )  # fmt: skip


@command.command()
@click.argument("stage")
@click.argument("version", required=False)
@json_option
@click.pass_obj
def show(context: dict[str, Path], stage: str, version: str | None, as_json: bool) -> None:
    """Show the card of a VERSION of STAGE, by default the one in use.

    Where none is in use, the newest, and stderr says so.
    """
    store = _store(context)
    if version is None and store.current(stage) is None and (made := store.versions(stage)):
        version = made[-1]
        state = _listed(store, stage, version).state
        click.echo(
            f"No version of {stage} is in use. This is the newest, {version}: {state}.", err=True
        )
    card = store.card(stage, version)
    if as_json:
        print_json(card)
        return
    tables, rest = card_tables(card.metrics)
    lines = _lines(msgspec.structs.replace(card, metrics=rest))
    print_table(f"{card.stage} {card.version}", ["", ""], lines)
    for table in tables:
        print_table(table.title, table.columns, table.rows)


@command.command()
@click.argument("stage")
@click.argument("version")
@json_option
@click.pass_obj
def use(context: dict[str, Path], stage: str, version: str, as_json: bool) -> None:
    """Bring a VERSION of STAGE into use; one whose gate did not pass is refused."""
    store = _store(context)
    before = store.current(stage)
    store.promote(stage, version)
    _report(Switched(stage, before, version), as_json)


@command.command()
@click.argument("stage")
@json_option
@click.pass_obj
def rollback(context: dict[str, Path], stage: str, as_json: bool) -> None:
    """Go back to the version of STAGE that was in use before; training does not bring it back."""
    store = _store(context)
    before = store.current(stage)
    _report(Switched(stage, before, store.rollback(stage)), as_json)


def _store(context: dict[str, Path]) -> ModelStore:
    from kindred.indexer.models import ModelStore

    return ModelStore(Workspace(context["workspace"]).models)


def _listed(store: ModelStore, stage: str, version: str) -> Listed:
    card = store.card(stage, version)
    if version == store.current(stage):
        state = "current"
    elif version in store.withdrawn(stage):
        state = "withdrawn"
    else:
        state = "kept" if card.gate.passed else "refused"
    start = None if card.start is None else card.start.version
    return Listed(
        stage, version, state, card.gate.reason, card.created, card.seconds, card.metrics, start
    )


def _in_the_past(stage: str) -> tuple[bool, str]:
    """Stages that only the ranker or an evaluation learns over come last."""
    return stage.endswith(("_past", "_before")), stage


def _report(switched: Switched, as_json: bool) -> None:
    if as_json:
        print_json(switched)
    else:
        click.echo(f"{switched.stage}: {switched.before or 'nothing'} -> {switched.now}")


def _when(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def _headline(metrics: dict[str, Any]) -> str:
    """The first few numbers, in one cell: plain ones, then those with an error, then others."""
    plain = [(name, value) for name, value in metrics.items() if _number(value)]
    nested = [
        line
        for name, value in metrics.items()
        if isinstance(value, dict)
        for line in _flat(name, value)
    ]
    measured = [line for line in nested if isinstance(line[1], str) and " ± " in line[1]]
    others = [line for line in nested if _number(line[1])]
    told = [*plain[:4], *measured, *others]
    return ", ".join(f"{k} {v}" if isinstance(v, str) else f"{k} {v:.4g}" for k, v in told[:4])


def _lines(card: Card) -> list[tuple[str, Any]]:
    """Field and value, nested fields by their dotted names."""
    made = _when(card.created)
    lines: list[tuple[str, Any]] = [("made", made), ("seconds", card.seconds), ("seed", card.seed)]
    if card.start is not None:
        anew = _when(card.start.anew)
        lines.append(("start", f"from version {card.start.version}; last trained anew {anew}"))
    lines += [("gate", "passed" if card.gate.passed else "refused"), ("reason", card.gate.reason)]
    for field in ("metrics", "inputs", "settings"):
        lines += _flat(field, getattr(card, field))
    lines = [(name, _moment(value) if name in MOMENTS else value) for name, value in lines]
    return [*lines, *((f"files.{n}", f"{f.size:,} bytes") for n, f in card.files.items())]


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    """One line for each plain value; a number is in one line with its standard error."""
    if not isinstance(value, dict):
        return [(name, _told(value))]
    error = value.get("error")
    if _number(error) and len(value) > 1:
        (first, number), *rest = [(k, v) for k, v in value.items() if k != "error"]
        if _number(number):
            line = (f"{name}.{first}", f"{number:.4g} ± {error:.2g}")
            return [line, *(more for k, v in rest for more in _flat(f"{name}.{k}", v))]
    return [line for key, item in value.items() for line in _flat(f"{name}.{key}", item)]


def _moment(micros: str) -> str:
    return _when(int(micros)) if micros.isdecimal() else micros


def _told(value: Any) -> Any:
    """A list is written without its brackets."""
    if isinstance(value, list) and not any(isinstance(v, list | dict) for v in value):
        return ", ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value)
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
