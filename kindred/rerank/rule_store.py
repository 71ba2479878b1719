"""Rules as they are kept: in SQLite, with one change sequence and all that was ever done to them.

Serving processes poll `sequence` and read `rules` anew where it has moved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from kindred.events.database import Kept, Tables
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import RulesError
from kindred.schemas.outcome import RowError
from kindred.schemas.rule import Effect, Rule, RuleChange, fault_in, in_each_others_way

RULE_TABLES = Tables(
    "rules",
    (
        # A change without a document removed its rule.
        """
CREATE TABLE changes (
    sequence INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    doc BLOB
);
CREATE INDEX changes_by_rule ON changes (rule_id, sequence);
CREATE TABLE rules (
    rule_id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    doc BLOB NOT NULL
) WITHOUT ROWID
""",
    ),
)
_CHANGE = "INSERT INTO changes (sequence, at, by, rule_id, doc) VALUES (?, ?, ?, ?, ?)"
_RULE = "INSERT OR REPLACE INTO rules (rule_id, sequence, doc) VALUES (?, ?, ?)"
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decoder = msgspec.msgpack.Decoder(Rule)


class Written(NamedTuple):
    """What became of a batch."""

    accepted: int
    unchanged: int
    refused: list[RowError]
    """Paths are behind the rule, such as `.place`"""
    sequence: int


class RuleStore:
    """Rules by id. Safe for several threads and several processes at once.

    A write that has returned survives kill -9 and power loss. Every failure of the database is a
    RulesError.
    """

    def __init__(self, kept: Kept, clock: Callable[[], int]) -> None:
        self._kept, self._clock = kept, clock

    @classmethod
    def open(cls, path: Path, clock: Callable[[], int] = micros_now) -> RuleStore:
        """Open the rules at `path`, made when missing."""
        return cls(Kept(path, RULE_TABLES, RulesError), clock)

    def close(self) -> None:
        """Release the files."""
        self._kept.close()

    def put(
        self,
        rules: Sequence[Rule],
        by: str,
        known: Callable[[Sequence[str]], Sequence[bool]],
    ) -> Written:
        """Check and write rules one by one, in one transaction; identical ones change nothing.

        `known` says which item ids the catalogue holds.
        """
        named = sorted({i for rule in rules for i in _items_of(rule)})
        missing = {i for i, there in zip(named, known(named), strict=True) if not there}
        refused: list[RowError] = []
        accepted = unchanged = 0
        with self._kept.write() as db:
            kept = {rule.rule_id: rule for rule in _rules(db)}
            sequence, now = _sequence(db), self._clock()
            told: set[str] = set()
            for index, rule in enumerate(rules):
                fault = fault_in(rule) or _fault_among(rule, missing, told, kept)
                told.add(rule.rule_id)
                if fault is not None:
                    refused.append(RowError(index=index, path=fault[0], reason=fault[1]))
                elif kept.get(rule.rule_id) == rule:
                    unchanged += 1
                else:
                    sequence, accepted = sequence + 1, accepted + 1
                    kept[rule.rule_id], doc = rule, _encode(rule)
                    db.execute(_CHANGE, (sequence, now, by, rule.rule_id, doc))
                    db.execute(_RULE, (rule.rule_id, sequence, doc))
        return Written(accepted, unchanged, refused, sequence)

    def remove(self, rule_id: str, by: str) -> bool:
        """Remove a rule; its history stays. False where there is none."""
        with self._kept.write() as db:
            found = db.execute("DELETE FROM rules WHERE rule_id = ?", (rule_id,)).rowcount
            if found:
                change = (_sequence(db) + 1, self._clock(), by, rule_id, None)
                db.execute(_CHANGE, change)
        return bool(found)

    @property
    def sequence(self) -> int:
        """Number of the latest change; 0 before the first."""
        with self._kept.read() as db:
            return _sequence(db)

    def rules(self) -> tuple[int, list[Rule]]:
        """(change sequence, rules by id), of one moment."""
        with self._kept.read() as db:
            db.execute("BEGIN")
            try:
                return _sequence(db), _rules(db)
            finally:
                db.execute("ROLLBACK")

    def history(self, rule_id: str | None = None, limit: int = 100) -> list[RuleChange]:
        """The newest changes first: of one rule, or of all."""
        where, told = ("", ()) if rule_id is None else ("WHERE rule_id = ? ", (rule_id,))
        question = (
            f"SELECT sequence, at, by, rule_id, doc FROM changes {where}"
            "ORDER BY sequence DESC LIMIT ?"
        )
        with self._kept.read() as db:
            found = db.execute(question, (*told, limit)).fetchall()
        return [
            RuleChange(
                sequence=sequence, at=at, by=by, rule_id=changed,
                rule=None if doc is None else _decode(doc, changed),
            )
            for sequence, at, by, changed, doc in found
        ]  # fmt: skip


def _items_of(rule: Rule) -> tuple[str, ...]:
    return rule.match.items if rule.seeds is None else (*rule.match.items, *rule.seeds.items)


def _fault_among(
    rule: Rule, missing: set[str], told: set[str], kept: dict[str, Rule]
) -> tuple[str, str] | None:
    """What is wrong with a rule beside the catalogue, the batch and the other rules."""
    if rule.rule_id in told:
        return ".rule_id", "an earlier rule of the batch has this id"
    seeds = () if rule.seeds is None else rule.seeds.items
    for path, items in ((".match.items", rule.match.items), (".seeds.items", seeds)):
        for at, item in enumerate(items):
            if item in missing:
                return f"{path}[{at}]", f"the catalogue does not hold {item!r}"
    if rule.effect is Effect.PIN:
        for other in kept.values():
            if in_each_others_way(rule, other):
                return ".place", f"the rule {other.rule_id!r} pins another item there"
    return None


def _sequence(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT ifnull(max(sequence), 0) FROM changes").fetchone()[0])


def _rules(db: sqlite3.Connection) -> list[Rule]:
    found = db.execute("SELECT rule_id, doc FROM rules ORDER BY rule_id").fetchall()
    return [_decode(doc, rule_id) for rule_id, doc in found]


def _decode(doc: bytes, rule_id: str) -> Rule:
    try:
        return _decoder.decode(doc)
    except msgspec.MsgspecError as e:
        raise RulesError(f"the rule {rule_id!r} cannot be read: {e}") from e
