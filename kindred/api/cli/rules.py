"""`kindred rules`: what merchandisers want otherwise, from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from kindred.api.cli.output import json_option, print_json, print_table
from kindred.schemas.errors import InputError, NotBuilt, UnknownRule
from kindred.schemas.workspace import Workspace

if TYPE_CHECKING:
    from kindred.api.ruled import LiveRules
    from kindred.schemas.rule import Match, Rule

BY = "cli"
"""Who changed a rule, in its history."""


@click.group()
def command() -> None:
    """List, add and remove rules: pin, bury, boost and exclude. A running service follows."""


@command.command("list")
@click.option("--surface", help="Those for this surface, those for all among them.")
@click.option("--active/--inactive", default=None, help="Those whose time is now, or is not.")
@json_option
@click.pass_obj
def list_rules(
    context: dict[str, Path], surface: str | None, active: bool | None, as_json: bool
) -> None:
    """List rules by id."""
    with _rules(context) as rules:
        found = rules.listed(surface, active)
    if as_json:
        print_json(found)
        return
    rows = [
        (r.rule_id, r.effect.value, _what(r), _matched(r.match), ", ".join(r.surfaces) or None,
         r.author, r.reason)
        for r in found.rules
    ]  # fmt: skip
    columns = ("rule", "effect", "what", "matches", "surfaces", "author", "reason")
    print_table(f"{len(found.rules):,} rules", columns, rows, spare=("surfaces",), cut=("matches",))


@command.command("add")
@click.argument("file", type=click.File("rb"), default="-")
@json_option
@click.pass_obj
def add_rules(context: dict[str, Path], file: BinaryIO, as_json: bool) -> None:
    """Write rules told as JSON, `{"rules": [...]}`, in a file or on standard input.

    A rule takes the place of what had its id. Good ones are written; where others are refused, each
    with the path of the field at fault, the command fails.
    """
    import msgspec

    from kindred.api.body import RuleBatch, all_refused, decode_rules
    from kindred.schemas.faults import decode, fault_of

    try:
        batch = decode(msgspec.json.Decoder(RuleBatch), file.read())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        path, reason = fault_of(error, "the file")
        raise InputError(reason, path) from error
    told, places, errors = decode_rules(batch)
    with _rules(context) as rules:
        result = rules.put(told, BY)
    rejected = all_refused(result.rejected, places, errors)
    if as_json:
        print_json(msgspec.structs.replace(result, rejected=rejected))
    else:
        click.echo(f"{result.accepted:,} new or changed, {result.unchanged:,} there already")
        for row in rejected:
            click.echo(f"refused: {row.reason} - at `{row.path}`", err=True)
    if rejected:
        click.get_current_context().exit(2)


@command.command("remove")
@click.argument("rule_ids", nargs=-1, required=True)
@json_option
@click.pass_obj
def remove_rules(context: dict[str, Path], rule_ids: tuple[str, ...], as_json: bool) -> None:
    """Remove rules; their history stays."""
    with _rules(context) as rules:
        unknown = [rule_id for rule_id in dict.fromkeys(rule_ids) if not rules.remove(rule_id, BY)]
    removed = len(dict.fromkeys(rule_ids)) - len(unknown)
    if as_json:
        print_json({"removed": removed, "unknown": unknown})
    else:
        click.echo(f"{removed:,} removed")
    if unknown:
        raise UnknownRule(unknown[0], "$.rule_ids")


@command.command("history")
@click.argument("rule_id", required=False)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most."
)
@json_option
@click.pass_obj
def history(context: dict[str, Path], rule_id: str | None, limit: int, as_json: bool) -> None:
    """Show who did what to a rule, or to all of them, newest first."""
    from kindred.api.times import readable

    with _rules(context) as rules:
        found = rules.history(rule_id, limit)
    if as_json:
        print_json(found)
        return
    rows = [
        (c.sequence, readable(c.at), c.by or None, c.rule_id, *_change(c.rule))
        for c in found.changes
    ]
    columns = ("change", "at", "by", "rule", "effect", "what", "author", "reason")
    print_table("", columns, rows)


def _change(rule: Rule | None) -> tuple[str | None, ...]:
    if rule is None:
        return ("removed", None, None, None)
    return (rule.effect.value, _what(rule), rule.author, rule.reason)


def _what(rule: Rule) -> str | None:
    """A pin's place, a boost's factor."""
    if rule.place is not None:
        return f"place {rule.place}"
    return None if rule.factor is None else f"x {rule.factor:g}"


def _matched(match: Match) -> str:
    """The conditions of a rule in one line."""
    told = {
        "item": match.items,
        "seller": match.sellers,
        "brand": match.brands,
        "category": tuple(" > ".join(path) for path in match.categories),
        **{name: (value,) for name, value in match.attributes.items()},
    }
    return "; ".join(f"{name} {' or '.join(names)}" for name, names in told.items() if names)


@contextmanager
def _rules(context: dict[str, Path]) -> Iterator[LiveRules]:
    from kindred.api.ruled import LiveRules
    from kindred.indexer.catalogue import Catalogue
    from kindred.rerank.rule_store import RuleStore
    from kindred.schemas.clock import micros_now

    workspace = Workspace(context["workspace"])
    if not workspace.catalogue.exists():
        raise NotBuilt(f"no catalogue at {workspace.catalogue}: `kindred import items` makes one")
    catalogue = Catalogue.open(workspace.catalogue)
    try:
        rules = LiveRules(RuleStore.open(workspace.rules), catalogue, micros_now)
        try:
            yield rules
        finally:
            rules.close()
    finally:
        catalogue.close()
