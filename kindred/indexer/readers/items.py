"""Records as items, one by one: nested objects, then the contract."""

from __future__ import annotations

from typing import Any

import msgspec

from kindred.indexer.readers.fields import ITEM_FIELDS
from kindred.schemas.errors import InputError
from kindred.schemas.faults import fault_of
from kindred.schemas.item import Item

_OBJECTS = ("attributes", "location")


def item_of(record: dict[str, Any], *, truncate: bool = False) -> tuple[Item, bool]:
    """The item that a record of fields tells, and whether an attribute of it was cut.

    Null and empty lists are absent; `location.lat` and `attributes.x` go into their objects; an
    object may be JSON text. InputError with reason and path where the contract is broken.
    """
    told: dict[str, Any] = {}
    for field, value in record.items():
        if value is None or (value == [] and field not in _OBJECTS):
            continue
        owner, _, inner = field.partition(".")
        if inner:
            told.setdefault(owner, {})[inner] = value
        elif field in _OBJECTS:
            told[field] = {**_object(field, value), **told.get(field, {})}
        else:
            told[field] = value
    cut = truncate and _cut_attributes(told.get("attributes", {}))
    try:
        return msgspec.convert(told, Item, strict=False), cut
    except msgspec.ValidationError as e:
        path, reason = fault_of(e, "the row")
        raise InputError(reason, path) from e


def _object(field: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as e:
            raise InputError(f"no JSON: {e}", f"$.{field}") from e
    if not isinstance(value, dict):
        raise InputError("Expected `object`", f"$.{field}")
    flags = {True: "true", False: "false"}
    return {
        name: flags[inner] if isinstance(inner, bool) else inner
        for name, inner in value.items()
        if inner is not None and inner != ""
    }


def _cut_attributes(attributes: dict[str, Any]) -> bool:
    longest = ITEM_FIELDS.limit("attributes.")
    long = [n for n, v in attributes.items() if isinstance(v, str) and len(v) > (longest or 0)]
    for name in long:
        attributes[name] = attributes[name][:longest]
    return bool(long)
