"""Told data that does not decode: what is wrong with it in words, and cut characters mended."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import TypeVar

import msgspec

from kindred.schemas.base import COUNTRY, CURRENCY, TRACEPARENT
from kindred.schemas.event import Action, EntityKind, Platform, Role
from kindred.schemas.item import Campaign, Condition, Format, Status
from kindred.schemas.query import Relation
from kindred.schemas.rule import RULE_ID, Effect
from kindred.schemas.settings import STRENGTH_OF
from kindred.schemas.why import LostAt

T = TypeVar("T")

PATTERN_WORDS = {
    COUNTRY: "must be two capital letters (ISO 3166-1 alpha-2)",
    CURRENCY: "must be three capital letters (ISO 4217)",
    RULE_ID: "must be 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `:` and `-`",
    TRACEPARENT: "must be a W3C trace context of version 00, such as "
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
"""What a text that does not match the pattern should have been."""


def _values(choices: type[Enum]) -> tuple[str, ...]:
    return tuple(choice.value for choice in choices)


CHOICES: dict[str, tuple[str, ...]] = {
    "action": _values(Action),
    "entity_kind": _values(EntityKind),
    "role": _values(Role),
    "platform": _values(Platform),
    "relation": _values(Relation),
    "relations": _values(Relation),
    "effect": _values(Effect),
    "stage": _values(LostAt),
    "condition": _values(Condition),
    "conditions": _values(Condition),
    "formats": _values(Format),
    "status": _values(Status),
    "statuses": _values(Status),
    "campaign": _values(Campaign),
    "campaigns": _values(Campaign),
    "kind": ("radius", "box", "polygon"),
    "formula": tuple(STRENGTH_OF),
}
"""Fields with few values, by name: each name means the same in every body."""

_UNMATCHED = {
    f"Expected `str` matching regex {pattern!r}": words for pattern, words in PATTERN_WORDS.items()
}
_NO_CHOICE = ("Invalid enum value", "Invalid value")
_AT = re.compile(r"^(?P<reason>.*) - at (?:`key` in )?`(?P<path>\$[^`]*)`$", re.DOTALL)
_FIELD = re.compile(r"(\w+)(?:\[[^\]]*\])*$")
_HALF = re.compile(
    rb"(?<!\\)(?P<before>(?:\\\\)*)(?:"
    rb"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""Escapes of surrogates; where no `pair` is found, half of one."""


def fault_of(error: Exception, what: str) -> tuple[str, str]:
    """(JSON path, reason) of what decoding raised; `what` was decoded, such as "the body"."""
    if isinstance(error, UnicodeDecodeError):
        return "$", f"{what} is not UTF-8"
    if isinstance(error, RecursionError):
        return "$", f"{what} is nested too deeply"
    return in_words(str(error))


def in_words(message: str) -> tuple[str, str]:
    """(JSON path, reason) of what a decoder says, such as "Expected `int` - at `$.k`"."""
    at = _AT.match(message)
    path, reason = (at["path"], at["reason"]) if at else ("$", message)
    field = _FIELD.search(path)
    if reason.startswith(_NO_CHOICE) and field and field[1] in CHOICES:
        return path, one_of(CHOICES[field[1]])
    return path, _UNMATCHED.get(reason, reason)


def one_of(values: Iterable[str]) -> str:
    """What is wrong with a value that is none of these."""
    return f"must be one of {', '.join(values)}"


def decode(decoder: msgspec.json.Decoder[T], told: bytes) -> T:
    """What `decoder` makes of JSON, in which a half surrogate pair stands for U+FFFD.

    Writers that cut a text by UTF-16 units, as browsers do, leave half an emoji at its end; that
    spoils one character, not what was told around it. Raises as the decoder does.
    """
    try:
        return decoder.decode(told)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = _HALF.sub(_mended, told)
        if mended == told:
            raise
        return decoder.decode(mended)


def _mended(found: re.Match[bytes]) -> bytes:
    return found[0] if found["pair"] else found["before"] + rb"\ufffd"
