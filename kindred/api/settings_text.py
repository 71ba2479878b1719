"""The words for every setting: a commented `kindred.toml`, and the table of docs/settings.md.

Both come from the Structs of `schemas.settings`: what a field is for is the docstring under it,
which only the source holds.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from kindred.schemas import settings
from kindred.schemas.settings import KindredSettings

HEADER = """\
# Settings of this workspace. Every field is here with its default, behind a `#`: take the `#`
# away to set it. The environment wins over this file: KINDRED__API__PORT=9000 sets api.port.
"""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting."""

    table: str
    """Dotted name of its table, "" for the root."""
    name: str
    kind: str
    """Its type, in words."""
    default: Any
    words: str
    """What it is for."""


@dataclass(frozen=True, slots=True)
class Table:
    """One Struct of settings."""

    name: str
    words: str
    fields: tuple[Field, ...]


def tables() -> list[Table]:
    """Every table, the root first, in the order of the source."""
    return list(_tables("", KindredSettings()))


def _tables(name: str, values: msgspec.Struct) -> Iterator[Table]:
    kind = type(values)
    docs = _docstrings()[kind.__name__]
    below: list[tuple[str, msgspec.Struct]] = []
    fields = []
    for field in msgspec.structs.fields(kind):
        value = getattr(values, field.name)
        if isinstance(value, msgspec.Struct):
            below.append((f"{name}.{field.name}".lstrip("."), value))
            continue
        words = docs.get(field.name, "")
        default = msgspec.to_builtins(value)
        fields.append(Field(name, field.name, _in_words(field.type), default, words))
    yield Table(name, inspect.getdoc(kind) or "", tuple(fields))
    for place, value in below:
        yield from _tables(place, value)


@cache
def _docstrings() -> dict[str, dict[str, str]]:
    """Struct -> field -> the docstring under it."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(settings)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        found[node.name] = {}
        for field, after in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[node.name][field.target.id] = inspect.cleandoc(str(after.value.value))
    return found


def _in_words(kind: Any) -> str:
    """A type as a reader of the file wants it: "whole number from 0 to 65535"."""
    return _type_words(msgspec.inspect.type_info(kind))


def _type_words(kind: msgspec.inspect.Type) -> str:
    info = msgspec.inspect
    if isinstance(kind, info.BoolType):
        return "true or false"
    if isinstance(kind, info.IntType):
        return "whole number" + _bounds(kind)
    if isinstance(kind, info.FloatType):
        return "number" + _bounds(kind)
    if isinstance(kind, info.LiteralType):
        return " or ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, info.VarTupleType):
        return "list of " + _type_words(kind.item_type)
    if isinstance(kind, info.DictType):
        return "table of " + _type_words(kind.value_type)
    if isinstance(kind, info.StructType):
        return "{" + ", ".join(field.name for field in kind.fields) + "}"
    return "text"


def _bounds(kind: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    low = {"from": kind.ge, "above": kind.gt}
    high = {"to": kind.le, "below": kind.lt}
    words = [f"{word} {limit:,}" for word, limit in (low | high).items() if limit is not None]
    return (" " + " ".join(words)).replace(".0", "") if words else ""


def commented_toml(chosen: Mapping[str, Any] | None = None) -> str:
    """The file: every field with type and words, defaults behind `#`, `chosen` ones set.

    `chosen` is nested like the file: {"api": {"port": 9000}}.
    """
    lines = [HEADER]
    for table in tables():
        here: Any = chosen or {}
        for part in filter(None, table.name.split(".")):
            here = here.get(part, {})
        if table.name:
            lines += ["", *_comment(table.words), f"[{table.name}]"]
        for field in table.fields:
            lines += ["", *_comment(f"{field.words} ({field.kind})")]
            mark = "" if field.name in here else "#"
            value = toml_value(here.get(field.name, field.default))
            lines.append(f"{mark}{field.name} = {value}")
    return "\n".join(lines) + "\n"


def _comment(words: str) -> list[str]:
    return [f"# {line}".rstrip() for line in words.splitlines()]


def toml_value(value: Any) -> str:
    """A value as TOML writes it; tables inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {toml_value(inner)}" for key, inner in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(inner) for inner in value) + "]"
    return repr(value)


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if plain else toml_value(key)


def write_settings(path: Path, chosen: Mapping[str, Any] | None = None) -> None:
    """Write the file aside, flushed, and rename it."""
    aside = path.with_name(path.name + ".new")
    with aside.open("w", encoding="utf-8") as file:
        file.write(commented_toml(chosen))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def settings_page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Every setting, made from `kindred/schemas/settings.py`: change it there, then run",
        "`python -m kindred.api.settings_text > docs/settings.md`.",
        "",
        "`kindred init` writes them all into `kindred.toml`, commented. The environment wins over",
        "the file: `KINDRED__API__PORT=9000` sets `api.port`, `KINDRED__STORE__KIND=server` sets",
        "`store.kind`; lists and tables are JSON there. Tables merge into their defaults field by",
        "field. A field that is not known is an error that names its path.",
    ]
    for table in tables():
        lines += ["", f"## `[{table.name}]`" if table.name else "## Top of the file", ""]
        head = ("| setting | type | default | |", "|---|---|---|---|")
        lines += [*table.words.splitlines(), "", *head]
        for field in table.fields:
            default = _cell(f"`{toml_value(field.default)}`")
            words = _cell(" ".join(field.words.split()))
            lines.append(f"| `{field.name}` | {_cell(field.kind)} | {default} | {words} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(settings_page(), end="")
