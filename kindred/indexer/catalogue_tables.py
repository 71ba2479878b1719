"""Tables of the catalogue, by the format that brought them, and how they are asked."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kindred.events.database import Tables

CATALOGUE_TABLES = Tables(
    "catalogue",
    (
        """
CREATE TABLE items (
    row INTEGER PRIMARY KEY,
    item_id TEXT NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL,
    doc BLOB NOT NULL
);
CREATE UNIQUE INDEX items_by_sequence ON items (sequence);
CREATE TABLE totals (active INTEGER NOT NULL);
INSERT INTO totals VALUES (0)
""",
        # What an item's formats were before `until` (microseconds UTC), where they have changed.
        """
CREATE TABLE former_formats (
    row INTEGER NOT NULL,
    until INTEGER NOT NULL,
    formats INTEGER NOT NULL,
    PRIMARY KEY (row, until)
) WITHOUT ROWID
""",
    ),
)

AMONG = "IN (SELECT value FROM json_each(?))"
"""Where a value is one of many, which `among` writes."""


def among(values: Sequence[str] | Sequence[int]) -> str:
    """The argument of AMONG."""
    return msgspec.json.encode(values).decode()
