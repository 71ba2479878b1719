"""Settings told in part: the same fields and limits, each of which may be absent."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from kindred.schemas.errors import InputError
from kindred.schemas.settings import Settings

S = TypeVar("S", bound=Settings)


@cache
def partial(kind: type[Settings]) -> Any:
    """A Struct with the fields of `kind`, none of which is required.

    Tables below it are partial as well, by name in a dict too; lists are told whole.
    """
    hints = get_type_hints(kind, include_extras=True)
    fields = [(name, _in_part(hints[name]) | UnsetType, UNSET) for name in kind.__struct_fields__]
    return msgspec.defstruct(
        f"Partial{kind.__name__}",
        fields,
        module=__name__,
        namespace={"__doc__": f"Some of {kind.__name__}: what is absent stays as it is."},
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def _in_part(told: Any) -> Any:
    if isinstance(told, type) and issubclass(told, Settings):
        return partial(told)
    if get_origin(told) is dict:
        key, value = get_args(told)
        return GenericAlias(dict, (key, _in_part(value)))
    return told


def overlaid(settings: S, told: msgspec.Struct | UnsetType, path: str) -> S:
    """`settings` with what `told` (of `partial`) says; InputError where they do not go together.

    `path` is where `told` stands.
    """
    if isinstance(told, UnsetType):
        return settings
    merged = _merged(msgspec.to_builtins(settings), msgspec.to_builtins(told))
    try:
        return msgspec.convert(merged, type(settings))
    except msgspec.ValidationError as error:
        reason, _, at = str(error).partition(" - at `$")
        raise InputError(reason, path + at.rstrip("`")) from error


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{name: _merged(below.get(name), value) for name, value in above.items()}}
