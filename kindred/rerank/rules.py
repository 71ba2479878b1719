"""Rules compiled to columns: which of them act on a request, and which candidates each one matches.

For every fact that rules name there is a table from its code to a row of bits, one bit for each
rule whose condition the code meets. A candidate's rules are the AND of a few looked-up rows, so a
thousand rules cost as much as ten, and an item that comes later is matched like any other. Tables
are made once for each change of the rules, and again where a name that they wait for turns up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import LEVEL_SEPARATOR, Columns
from kindred.indexer.traits import attribute_hash
from kindred.retrieval.queries import Queries
from kindred.schemas.ranking import Doubles, Mask, Rows
from kindred.schemas.rule import Effect, Rule

Bits = NDArray[np.uint8]
"""uint8[..., B]: one bit for each rule, as numpy packs them"""
EVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class CodeTable:
    """Which rules' condition on one fact a code meets."""

    codes: Rows
    """int64[U], sorted"""
    bits: Bits
    """uint8[U + 1, B]; the last row is for all other codes"""

    @classmethod
    def of(cls, wanted: Sequence[Iterable[int] | None], *, without: bool) -> CodeTable:
        """From the codes that each of R rules names; a rule that names none (None) is met by every
        code, or by no code where `without` is False.
        """
        names = [() if told is None else tuple({c for c in told if c >= 0}) for told in wanted]
        codes = np.unique(np.array([c for told in names for c in told], np.int64))
        met = np.zeros((len(codes) + 1, len(wanted)), np.bool_)
        if without:
            met[:, [r for r, told in enumerate(wanted) if told is None]] = True
        rules = np.repeat(np.arange(len(names)), [len(told) for told in names])
        met[np.searchsorted(codes, [c for told in names for c in told]), rules] = True
        return cls(codes, np.packbits(met, axis=1))

    def met_by(self, codes: NDArray[np.integer]) -> Bits:
        """uint8[n, B] for codes int[n]; for int[n, L] what any of the L meets."""
        if not len(self.codes):
            return np.broadcast_to(self.bits[-1], (len(codes), self.bits.shape[1]))
        flat = np.asarray(codes, np.int64).ravel()
        at = np.minimum(np.searchsorted(self.codes, flat), len(self.codes) - 1)
        found = self.bits[np.where(self.codes[at] == flat, at, len(self.codes))]
        if codes.ndim == 1:
            return found
        met: Bits = np.bitwise_or.reduce(found.reshape(*codes.shape, found.shape[-1]), axis=1)
        return met


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact of the candidates with the table of the rules that ask for it."""

    read: Callable[[Columns, Rows], NDArray[np.integer]]
    table: CodeTable
    asks: Bits
    """uint8[B]: the rules that ask for it"""


FACTS: Mapping[str, Callable[[Columns, Rows], NDArray[np.integer]]] = {
    "items": lambda _, rows: rows,
    "sellers": lambda columns, rows: columns.seller[rows],
    "brands": lambda columns, rows: columns.brand[rows],
    "categories": lambda columns, rows: columns.category[rows],
}


WORDS = {"sellers": "seller", "brands": "brand", "categories": "category"}
"""Fact -> vocabulary of its codes."""


class RuleBook:
    """Rules over the columns of one index version."""

    def __init__(self, rules: Sequence[Rule], columns: Columns) -> None:
        self.rules = tuple(rules)
        self._columns = columns
        self._waiting: set[tuple[str, str]] = set()
        named = {fact: [self._codes(fact, getattr(r.match, fact)) for r in rules] for fact in FACTS}
        told = [(FACTS[fact], codes) for fact, codes in named.items()]
        asked = [
            sorted(attribute_hash(*pair) for pair in r.match.attributes.items()) for r in rules
        ]
        told += [
            (_attributes, [np.array(codes[nth:][:1]) if codes[nth:] else None for codes in asked])
            for nth in range(max(map(len, asked), default=0))
        ]
        self._conditions = [
            Condition(read, table, _packed([of is not None for of in codes]))
            for read, codes in told
            if len((table := CodeTable.of(codes, without=True)).codes)
        ]
        self._unmet = _packed([_hopeless(told) for told in zip(*named.values(), strict=True)])
        scopes = [rule.seeds for rule in rules]
        self._every_seed = _packed([scope is None for scope in scopes])
        self._seed_rows = CodeTable.of(
            [self._codes("items", () if s is None else s.items) for s in scopes], without=False
        )
        self._seed_categories = CodeTable.of(
            [self._codes("categories", () if s is None else s.categories) for s in scopes],
            without=False,
        )
        self._starts = np.array([rule.starts or 0 for rule in rules], np.int64)
        self._ends = np.array([EVER if r.ends is None else r.ends for r in rules], np.int64)
        self._surfaces = {
            name: _packed([rule.stands_on(name) for rule in rules])
            for name in {"", *(s for rule in rules for s in rule.surfaces)}
        }
        self.of = {e: _packed([rule.effect is e for rule in rules]) for e in Effect}
        self.log_factor = np.log([rule.factor or 1.0 for rule in rules])
        self.pins = np.array(
            sorted(
                (n for n, rule in enumerate(rules) if rule.effect is Effect.PIN),
                key=lambda n: (rules[n].place or 0, rules[n].seeds is None, rules[n].rule_id),
            ),
            np.int64,
        )
        """int64[P]: pins as they take their places; where two want one, that of named seeds"""
        self.pin_place = np.array([rules[n].place or 0 for n in self.pins.tolist()], np.int64)
        self.pin_row = columns.rows([rules[n].match.items[0] for n in self.pins.tolist()])

    def _codes(self, fact: str, names: Sequence[str] | Sequence[tuple[str, ...]]) -> Rows | None:
        """int64[n]: codes of what a rule names, -1 not known yet; None: it names none."""
        if not names:
            return None
        told = [n if isinstance(n, str) else LEVEL_SEPARATOR.join(n) for n in names]
        codes = [self._find(fact, name) for name in told]
        self._waiting |= {(fact, n) for n, code in zip(told, codes, strict=True) if code < 0}
        return np.array(codes, np.int64)

    def _find(self, fact: str, name: str) -> int:
        """The code of one name, -1 where it is not known yet."""
        if fact == "items":
            return self._columns.row_of.get(name, -1)
        return self._columns.vocabularies[WORDS[fact]].find(name)

    @property
    def stale(self) -> bool:
        """Whether a name that was unknown when the tables were made is known by now."""
        return any(self._find(fact, name) >= 0 for fact, name in self._waiting)

    def over(self, columns: Columns) -> bool:
        """Whether it was made for these columns."""
        return self._columns is columns

    def acting(self, queries: Queries, surface: str) -> Acting | None:
        """What acts on these questions; None where nothing does."""
        if not self.rules:
            return None
        now = queries.now[:, None]
        timely = np.packbits((self._starts <= now) & (now < self._ends), axis=1)
        here = self._surfaces.get(surface, self._surfaces[""])
        seeded = (
            self._every_seed
            | self._seed_rows.met_by(queries.anchor.row)
            | self._seed_categories.met_by(queries.anchor.category)
        )
        scope = timely & here & seeded & ~self._unmet
        return Acting(self, self._columns, scope) if scope.any() else None

    def matched(self, rows: Rows, owners: Rows, scope: Bits) -> Bits:
        """uint8[n, B]: of the rules in scope uint8[Q, B], those that match each row."""
        bits, wanted = scope[owners], np.bitwise_or.reduce(scope, axis=0)
        for condition in self._conditions:
            if not (wanted & condition.asks).any():
                continue
            # What no rule is left for need not be asked on: most rows, where rules are few.
            left = np.flatnonzero(bits.any(axis=1))
            if not len(left):
                break
            facts = condition.read(self._columns, rows[left])
            bits[left] &= condition.table.met_by(facts)
        return bits


@dataclass(frozen=True, slots=True)
class Acting:
    """The rules that act on a batch of questions."""

    book: RuleBook
    columns: Columns
    scope: Bits
    """uint8[Q, B]"""

    def matched(self, effect: Effect, rows: Rows, owners: Rows) -> Bits | None:
        """uint8[n, B]: the rules of one effect that match each row of its question; None: none is
        in scope.
        """
        scope = self.scope & self.book.of[effect]
        if not scope.any():
            return None
        return self.book.matched(rows, owners, scope)

    def hit(self, effect: Effect, rows: Rows, owners: Rows) -> Mask:
        """bool[n]: matched by a rule of this effect."""
        bits = self.matched(effect, rows, owners)
        return np.zeros(len(rows), np.bool_) if bits is None else np.any(bits != 0, axis=1)

    def first(self, effect: Effect, rows: Rows, owners: Rows) -> Rows:
        """int64[n]: place in the book of the first rule of this effect that matches, -1 none."""
        bits = self.matched(effect, rows, owners)
        if bits is None:
            return np.full(len(rows), -1)
        met = self._unpacked(bits)
        return np.where(met.any(axis=1), met.argmax(axis=1), -1)

    def boosts(self, rows: Rows, owners: Rows) -> Doubles | None:
        """float64[n]: what boosts add to a log probability; None where none is in scope."""
        bits = self.matched(Effect.BOOST, rows, owners)
        if bits is None:
            return None
        adds = np.zeros(len(rows))
        met = np.flatnonzero(bits.any(axis=1))
        adds[met] = self._unpacked(bits[met]) @ self.book.log_factor
        return adds

    def pinned(self) -> tuple[Rows, Rows, Rows, Rows]:
        """(questions int64[m], catalogue rows, places from 1, rules) in the order of the places."""
        on = self._unpacked(self.scope)[:, self.book.pins] & (self.book.pin_row >= 0)
        owners, at = np.nonzero(on)
        return owners, self.book.pin_row[at], self.book.pin_place[at], self.book.pins[at]

    def by_rule(self, effect: Effect, rows: Rows, owners: Rows) -> dict[str, Rows]:
        """`rule:ID` -> the rows that it matches, of the rules of one effect: for a trail."""
        bits = self.matched(effect, rows, owners)
        if bits is None:
            return {}
        met = self._unpacked(bits)
        return {
            f"rule:{self.book.rules[n].rule_id}": rows[met[:, n]]
            for n in np.flatnonzero(met.any(axis=0)).tolist()
        }

    def _unpacked(self, bits: Bits) -> Mask:
        return np.unpackbits(bits, axis=1, count=len(self.book.rules)).astype(np.bool_)


def _attributes(columns: Columns, rows: Rows) -> NDArray[np.integer]:
    return columns.attributes[rows]


def _packed(told: Sequence[bool]) -> Bits:
    """uint8[B]"""
    return np.packbits(np.array(told, np.bool_))


def _hopeless(named: Sequence[Rows | None]) -> bool:
    """Whether a rule names something of which nothing is known yet, so that it matches nothing."""
    return any(codes is not None and bool((codes < 0).all()) for codes in named)
