"""Why an item is not in an answer: the question, and the first stage that lost it."""

from __future__ import annotations

from enum import Enum

from kindred.schemas.base import Id, Record, check_ids
from kindred.schemas.query import SimilarRequest


class WhyNotRequest(Record, frozen=True, kw_only=True):
    """The question that was asked, and the item that is missed in its answer."""

    request: SimilarRequest
    """As for `/v1/similar`; nothing of it is logged."""
    item_id: Id

    def __post_init__(self) -> None:
        check_ids(self, "item_id")


class LostAt(Enum):
    """Stages that an item may be lost at, in their order."""

    UNKNOWN = "unknown"
    """The catalogue does not hold it."""
    PENDING = "pending"
    """The catalogue holds it, the index does not yet."""
    WITHDRAWN = "withdrawn"
    """It is sold, ended or not out yet."""
    SEED = "seed"
    """It is what was asked about, or part of the visit."""
    DISLIKED = "disliked"
    """The request, or the visitor, moved away from it."""
    FILTER = "filter"
    """A condition of the request refuses it."""
    MISMATCH = "mismatch"
    """It is near in content alone, in another top category and of another brand."""
    NOT_RECALLED = "not_recalled"
    """No source brought it."""
    LIMIT = "limit"
    """It was found, but further back than the candidates that are kept."""
    DEPTH = "depth"
    """It was kept, but lies deeper than the ranker orders."""
    EXCLUDED = "excluded"
    """A rule, or what the visitor has or sells, left it out."""
    RANKED = "ranked"
    """It was ordered behind the last place of the answer."""
    PASSED = "passed"
    """It would be shown but for the rates, prices and places of others."""
    CAPPED = "capped"
    """It would be shown but for a limit: on a seller, on sponsored items, on what is alike."""
    SHOWN = "shown"
    """It is in the answer."""


class SpaceDistance(Record, frozen=True, kw_only=True, omit_defaults=False):
    """How far an item is from being recalled in one vector space."""

    space: str
    similarity: float
    """Cosine to what the question is about."""
    weakest: float | None = None
    """That of the last one that the space's source brought; null where it brought none."""
    rank: int
    """Its place among all that could come back, by exact search; 1 is the nearest."""
    quota: int
    """How many the source is asked for; 0: it is off."""


class Cost(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A feature by which the last item shown is ahead of this one."""

    feature: str
    group: str
    value: float | None = None
    """Of this item; null unknown."""
    value_shown: float | None = None
    """Of the last one shown."""
    costs: float
    """By how much more it adds to the score of the last one shown."""


class Standing(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What an item was ordered by, beside the last item that the answer has room for."""

    score: float | None = None
    score_shown: float | None = None
    """Of the k-th by the ranker."""
    probability: float | None = None
    probability_shown: float | None = None
    blend: float | None = None
    blend_shown: float | None = None
    """Of the k-th of the answer."""
    costs: list[Cost] = []
    """What the ranker holds against it, the dearest first."""


class WhyNot(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The first stage that lost an item, and what it would have taken."""

    item_id: str
    stage: LostAt
    reason: str
    """In words for those who sell."""
    k: int
    """Items that the answer has room for."""
    place: int | None = None
    """Where it stood when it was lost, or stands."""
    places: dict[str, int] = {}
    """Its place behind each stage that it reached, 1 = first."""
    conditions: list[str] = []
    """Conditions of the request, by name, that it fails when each is asked alone."""
    rules: list[str] = []
    """Rules and limits that touched it."""
    sources: list[str] = []
    """Recall sources that found it."""
    candidates: int = 0
    """Candidates that were kept."""
    spaces: list[SpaceDistance] = []
    """Where it was not recalled: how near it is."""
    together: float | None = None
    """Where it was not recalled: visits that held it beside the question's items, further steps
    apart counting less; null where no pairs are counted."""
    standing: Standing | None = None
    """Where it was ranked."""
    degraded: list[str] = []
    """Stages that fell back while this was looked up."""
    versions: dict[str, str] = {}
