"""Why an item stands where it stands: the reasons of an answer with `explain`."""

from __future__ import annotations

from kindred.schemas.base import Record


class Contribution(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What one feature says of an item, and what that is worth to the ranker."""

    feature: str
    group: str
    value: float | None = None
    """Null where it is unknown."""
    adds: float | None = None
    """What it adds to the ranker's score (exact TreeSHAP); null where no ranker serves."""


class Move(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A stage behind the ranker that gave an item another place, or took its rate's effect."""

    stage: str
    cause: str
    """`rate`, `price` and `auction` are the item's own; `others` that others moved past it or fell
    behind it; else the name of the rule or limit."""
    before: int | None = None
    """Null for what came in at this stage."""
    after: int


class Explanation(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The reasons of one item of an answer."""

    sentence: str
    """In words for those who sell."""
    similarity: dict[str, float] = {}
    """Cosine to the seed in every vector space that both are in."""
    features: list[Contribution] = []
    """All that is known of it, what counts most first; `base` and what they add sum to `score`."""
    base: float | None = None
    """The part of the score that comes of no feature."""
    merged: float
    """What recall's merge gave it."""
    score: float | None = None
    """The ranker's."""
    probability: float | None = None
    blend: float | None = None
    """What the order goes by behind the blend: log probability + rate + price + rules."""
    rate_adds: float | None = None
    """What its ad rate adds to `blend`, against an item without one."""
    price_adds: float | None = None
    """What its price adds to `blend`, against the mean of the candidates."""
    rules_add: float | None = None
    """What rules that boost add to `blend`."""
    places: dict[str, int] = {}
    """Its place behind each stage, 1 = first, in the order of the stages: `merge`, `rank`, `blend`
    and those behind it; `final` is where it is shown."""
    moves: list[Move] = []
    """What changed its place behind the ranker."""
