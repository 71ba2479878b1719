"""A merchandiser's rule: what happens to which items, where and when, by whom and why.

A rule is data. It is checked when it is written (`fault_in`), kept with its history
(`rerank.rule_store`) and applied by columns to every answer it is for (`rerank.rules`).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated

from msgspec import Meta

from kindred.schemas.base import Id, Micros, Record
from kindred.schemas.item import Word
from kindred.schemas.outcome import RowError

MAX_PLACE = 100
"""Items of the longest answer."""

RULE_ID = r"^[A-Za-z0-9._:-]{1,64}$(?!\n)"
RuleId = Annotated[str, Meta(pattern=RULE_ID)]
Surface = Annotated[str, Meta(min_length=1, max_length=64)]
Path = Annotated[tuple[Word, ...], Meta(min_length=1)]
Some = Meta(max_length=1000)


class Effect(Enum):
    """What a rule does to the items it matches."""

    PIN = "pin"
    """Stands at `place`, found by recall or not."""
    BURY = "bury"
    """Stands behind everything else."""
    BOOST = "boost"
    """Competes as if its probability were `factor` times what it is."""
    EXCLUDE = "exclude"
    """Is left out."""


class Match(Record, frozen=True, kw_only=True):
    """Which items. All conditions hold together; several values of one mean any of them, but of
    attributes each one holds.
    """

    items: Annotated[tuple[Id, ...], Some] = ()
    sellers: Annotated[tuple[Id, ...], Some] = ()
    brands: Annotated[tuple[Word, ...], Some] = ()
    categories: Annotated[tuple[Path, ...], Some] = ()
    """Category paths or prefixes of them, root first."""
    attributes: Annotated[
        dict[Word, Annotated[str, Meta(min_length=1, max_length=256)]], Meta(max_length=16)
    ] = {}
    """Free attributes whose value is a text; upper and lower case are one. Of an item's attributes
    the first twelve by name count."""

    @property
    def empty(self) -> bool:
        """Whether it names nothing, which would be everything."""
        told = (self.items, self.sellers, self.brands, self.categories, self.attributes)
        return not any(told)


class SeedScope(Record, frozen=True, kw_only=True):
    """Which questions: those about one of the items, or about an item of one of the categories."""

    items: Annotated[tuple[Id, ...], Some] = ()
    categories: Annotated[tuple[Path, ...], Some] = ()
    """Category paths or prefixes of them, root first."""


class Rule(Record, frozen=True, kw_only=True):
    """One rule. It is for every question, surface and time that it does not leave out."""

    rule_id: RuleId
    effect: Effect
    match: Match
    seeds: SeedScope | None = None
    """Absent: whatever the question is about."""
    surfaces: Annotated[tuple[Surface, ...], Meta(max_length=32)] = ()
    """Absent: all of them. Session recall is the surface `session_recall`."""
    starts: Micros | None = None
    ends: Micros | None = None
    """The first moment without it."""
    place: Annotated[int, Meta(ge=1, le=MAX_PLACE)] | None = None
    """Of a pin: 1 is first."""
    factor: Annotated[float, Meta(ge=0.01, le=100.0)] | None = None
    """Of a boost; under 1 it sets back."""
    author: Annotated[str, Meta(min_length=1, max_length=128)]
    reason: Annotated[str, Meta(min_length=1, max_length=512)]

    def active(self, now: int) -> bool:
        """Whether `now` (µs) lies in its time."""
        return (self.starts or 0) <= now and (self.ends is None or now < self.ends)

    def stands_on(self, surface: str) -> bool:
        """Whether it is for this surface."""
        return not self.surfaces or surface in self.surfaces


class RuleResult(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What became of a batch of rules: `accepted` ones are durable."""

    accepted: int
    unchanged: int = 0
    rejected: list[RowError] = []
    sequence: int = 0
    """The rules' change sequence after this batch."""


class RuleList(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Rules by id."""

    rules: list[Rule]
    sequence: int = 0
    """The rules' change sequence that the list shows."""


class RuleChange(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What somebody did to a rule."""

    sequence: int
    at: int
    """µs"""
    by: str
    """The key that was used, or `cli`; empty where the service asks for none."""
    rule_id: str
    rule: Rule | None = None
    """As it stands since; null where it was removed."""


class RuleHistory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Changes of the rules, newest first."""

    changes: list[RuleChange]


def fault_in(rule: Rule) -> tuple[str, str] | None:
    """(path behind the rule, reason) of the first thing that is wrong with it by itself."""
    return next(_faults(rule), None)


def _faults(rule: Rule) -> Iterator[tuple[str, str]]:
    pin, boost = rule.effect is Effect.PIN, rule.effect is Effect.BOOST
    if pin and rule.place is None:
        yield ".place", "a pin needs a place"
    if not pin and rule.place is not None:
        yield ".place", f"a place is for pins, not for `{rule.effect.value}`"
    if boost and rule.factor is None:
        yield ".factor", "a boost needs a factor"
    if not boost and rule.factor is not None:
        yield ".factor", f"a factor is for boosts, not for `{rule.effect.value}`"
    if rule.match.empty:
        yield ".match", "at least one condition is needed"
    alone = Match(items=rule.match.items) == rule.match and len(rule.match.items) == 1
    if pin and not alone:
        yield ".match", "a pin names one item in `items`, and nothing else"
    seeds = rule.seeds
    if seeds is not None and not seeds.items and not seeds.categories:
        yield ".seeds", "at least one item or category is needed"
    if rule.starts is not None and rule.ends is not None and rule.ends <= rule.starts:
        yield ".ends", "`ends` must be after `starts`"


def in_each_others_way(one: Rule, other: Rule) -> bool:
    """Whether two pins want one place in one answer.

    A pin for named seeds goes before one for all questions, so those two may share a place.
    """
    if one.place != other.place or one.rule_id == other.rule_id or one.place is None:
        return False
    surfaces = not one.surfaces or not other.surfaces or {*one.surfaces} & {*other.surfaces}
    first, second = sorted(((r.starts or 0, r.ends) for r in (one, other)), key=lambda w: w[0])
    together = first[1] is None or second[0] < first[1]
    return bool(surfaces) and together and _same_seeds(one.seeds, other.seeds)


def _same_seeds(one: SeedScope | None, other: SeedScope | None) -> bool:
    if one is None or other is None:
        return one is other
    if {*one.items} & {*other.items}:
        return True
    return any(
        a[: len(b)] == b or b[: len(a)] == a for a in one.categories for b in other.categories
    )
