"""Which column becomes which field: `--map field=column` and its companions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import msgspec

from kindred.indexer.readers.fields import Fields
from kindred.schemas.errors import InputError

DEFAULT_START = 946_684_800_000_000
"""2000-01-01T00:00:00Z: when the first row of a table without times happened."""

ROW_COLUMN = "@row"
"""A column that every table has: the row's number, from 0."""

_SCALED = re.compile(r"^(.+)\*(\d+(?:\.\d+)?)$")


@dataclass(frozen=True, slots=True)
class Term:
    """A column, or a column times a number."""

    column: str
    scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMap:
    """How a table tells our records."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field -> `column`, `column*number`, or columns joined by `+`; "" leaves the field out."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Field -> the value where no column gives one."""
    separators: Mapping[str, str] = field(default_factory=dict)
    """Field -> what parts its text into a list."""
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Field -> their word -> our word."""
    time_unit: Literal["auto", "s", "ms", "us"] = "auto"
    """Unit of numeric times; see `conversion.as_time`."""
    start: int = DEFAULT_START
    """Microseconds UTC of the first row of events that have no time."""
    truncate: bool = False
    """Cut what is too long instead of refusing the row."""

    def digest_of(self, key: str, sha256: str) -> str:
        """A short name for the records that a file's bytes give when they are read in this way."""
        told = [key, sha256, self.columns, self.constants, self.separators, self.renamed]
        canonical = msgspec.json.encode([*told, self.time_unit, self.start], order="sorted")
        return blake2b(canonical, digest_size=8).hexdigest()


def parse_pairs(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """`["field=value", ...]` as a dict; InputError where there is no `=` or a field comes twice."""
    parsed: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--{option} {pair}: expected field=value", f"$.{option}")
        if name in parsed:
            raise InputError(f"--{option} {pair}: {name} is there already", f"$.{option}")
        parsed[name] = value
    return parsed


def parse_renamed(pairs: Iterable[str]) -> dict[str, dict[str, str]]:
    """`["field:theirs=ours", ...]` by field."""
    renamed: dict[str, dict[str, str]] = {}
    for pair in pairs:
        name, colon, words = pair.partition(":")
        theirs, equals, ours = words.rpartition("=")
        if not colon or not equals:
            raise InputError(f"--rename {pair}: expected field:theirs=ours", "$.rename")
        renamed.setdefault(name, {})[theirs] = ours
    return renamed


def resolve(
    wanted: ColumnMap, fields: Fields, known: Sequence[str], *, open_ended: bool
) -> dict[str, tuple[Term, ...]]:
    """Field -> its columns. A column that bears a field's name needs no `--map`.

    `known` are the table's columns; an `open_ended` table may have others as well.
    """
    resolved: dict[str, tuple[Term, ...]] = {}
    for name, spec in wanted.columns.items():
        fields.kind(name)
        if spec:
            resolved[name] = _terms(name, spec, known, open_ended=open_ended)
    told = [*known, *(f for f in fields.kinds if "." not in f)] if open_ended else known
    for name in told:
        if name in fields.kinds and name not in wanted.columns:
            resolved[name] = (Term(name),)
    for name in (*wanted.constants, *wanted.separators, *wanted.renamed):
        fields.kind(name)
    if fields.key not in resolved:
        raise InputError(
            f"nothing is mapped to {fields.key!r}; the columns are {', '.join(known)}",
            f"$.{fields.key}",
        )
    return resolved


def _terms(name: str, spec: str, known: Sequence[str], *, open_ended: bool) -> tuple[Term, ...]:
    if spec in known:
        return (Term(spec),)
    terms = []
    for part in map(str.strip, spec.split("+")):
        scaled = _SCALED.match(part)
        if part in known or not scaled:
            term = Term(part)
        else:
            term = Term(scaled[1].strip(), float(scaled[2]))
        if term.column not in (*known, ROW_COLUMN) and not open_ended:
            told = ", ".join(known)
            raise InputError(f"no column {term.column!r}; there are {told}", f"$.{name}")
        terms.append(term)
    return tuple(terms)
