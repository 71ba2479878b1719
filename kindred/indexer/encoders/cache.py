"""Vectors by hash of what was encoded, so that nothing unchanged is encoded twice.

One SQLite file, shared by the builder and every serving process (WAL). It is a cache: deleting it
costs time and nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kindred.events.database import Kept, Tables
from kindred.schemas.errors import ArtefactError
from kindred.schemas.ranking import Floats, Mask

CACHE_TABLES = Tables(
    "encoding cache",
    (
        # Early caches have the tables without a format.
        """
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY, space TEXT NOT NULL, version TEXT NOT NULL, UNIQUE (space, version));
CREATE TABLE IF NOT EXISTS encodings (
    version INTEGER NOT NULL, key BLOB NOT NULL, vector BLOB, reason TEXT, at INTEGER NOT NULL,
    PRIMARY KEY (version, key))
""",
    ),
)
_KEYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache knows of n keys."""

    vectors: Floats
    """float32[n, d]; zero where not `present`"""
    present: Mask
    """bool[n]: encoded"""
    partial: Mask
    """bool[n]: encoded without something that was refused"""
    rejected: Mask
    """bool[n]: cannot be encoded, as found at an earlier try"""
    reasons: dict[int, str]
    """Why, by position, for the rejected ones"""

    @property
    def missing(self) -> Mask:
        """bool[n]: never tried, or tried too long ago."""
        return ~(self.present | self.rejected)


class EncodingCache:
    """Get and put vectors by (space, version, key); usable from threads and processes at once."""

    def __init__(self, path: Path) -> None:
        def broken(told: str) -> ArtefactError:
            return ArtefactError(f"{told}; {path} may be deleted, its vectors are then made again")

        # A power cut may lose the newest vectors; they would be encoded again.
        self._kept = Kept(path, CACHE_TABLES, broken, synchronous="NORMAL")

    def close(self) -> None:
        """Release the file."""
        self._kept.close()

    def get(
        self, space: str, version: str, keys: Sequence[bytes], dim: int, rejects_since: int = 0
    ) -> Cached:
        """What is known of `keys` (16 bytes each), in their order.

        Rejects older than `rejects_since` (µs), and vectors as old that lack something, count as
        missing: it is time to try again.
        """
        n = len(keys)
        vectors = np.zeros((n, dim), np.float32)
        present, partial, rejected = (np.zeros(n, np.bool_) for _ in range(3))
        reasons: dict[int, str] = {}
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        for key, vector, reason, at in self._rows(space, version, list(places)):
            where = places[key]
            if reason is not None and at < rejects_since:
                continue
            if vector is not None and len(vector) == 4 * dim:
                vectors[where] = np.frombuffer(vector, "<f4")
                present[where], partial[where] = True, reason is not None
            elif vector is None:
                rejected[where] = True
                reasons.update(dict.fromkeys(where, str(reason)))
        return Cached(vectors, present, partial, rejected, reasons)

    def put(
        self,
        space: str,
        version: str,
        keys: Sequence[bytes],
        vectors: Floats,
        at: int,
        lacking: Mapping[int, str] | None = None,
    ) -> None:
        """Keep float32[n, d] vectors; a key that has one keeps it, so that all processes agree.

        `lacking` says by position what a vector was made without: another one will replace it.
        """
        blobs, why = np.ascontiguousarray(vectors, "<f4"), lacking or {}
        rows = ((key, blobs[i].tobytes(), why.get(i)) for i, key in enumerate(keys))
        if keys:
            self._write(space, version, rows, at)

    def put_rejects(
        self, space: str, version: str, keys: Sequence[bytes], reasons: Sequence[str], at: int
    ) -> None:
        """Remember what cannot be encoded, and since when."""
        rows = ((key, None, reason) for key, reason in zip(keys, reasons, strict=True))
        if keys:
            self._write(space, version, rows, at)

    def _rows(
        self, space: str, version: str, keys: list[bytes]
    ) -> list[tuple[bytes, bytes | None, str | None, int]]:
        found: list[tuple[bytes, bytes | None, str | None, int]] = []
        with self._kept.read() as db:
            number = _number(db, space, version)
            for first in range(0, len(keys) if number else 0, _KEYS_AT_ONCE):
                part = keys[first : first + _KEYS_AT_ONCE]
                marks = ",".join("?" * len(part))
                found += db.execute(
                    "SELECT key, vector, reason, at FROM encodings"
                    f" WHERE version = ? AND key IN ({marks})",
                    [number, *part],
                ).fetchall()
        return found

    def _write(
        self,
        space: str,
        version: str,
        rows: Iterable[tuple[bytes, bytes | None, str | None]],
        at: int,
    ) -> None:
        with self._kept.write() as db:
            told = (space, version)
            db.execute("INSERT OR IGNORE INTO versions (space, version) VALUES (?, ?)", told)
            number = _number(db, space, version)
            db.executemany(
                "INSERT INTO encodings (version, key, vector, reason, at)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (version, key) DO UPDATE SET"
                " vector = excluded.vector, reason = excluded.reason, at = excluded.at"
                " WHERE encodings.vector IS NULL OR encodings.reason IS NOT NULL",
                [(number, key, vector, reason, at) for key, vector, reason in rows],
            )


def _number(db: sqlite3.Connection, space: str, version: str) -> int | None:
    row = db.execute(
        "SELECT id FROM versions WHERE space = ? AND version = ?", (space, version)
    ).fetchone()
    return int(row[0]) if row else None
