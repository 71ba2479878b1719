"""What was shown, to whom, and with which probability (SPEC §3.2)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kindred.schemas.base import Id, Micros, Record
from kindred.schemas.event import Platform
from kindred.schemas.item import Campaign
from kindred.schemas.query import Place, Subject

Probability = Annotated[float, Meta(gt=0, le=1)]


class DecisionContext(Record, frozen=True, kw_only=True):
    """What the request was about."""

    seed_item: Id | None = None
    session: tuple[Id, ...] = ()
    """Items of the visitor's session that the question started from, oldest first."""
    query: str | None = None
    category: tuple[str, ...] = ()
    place: Place | None = None
    season: str | None = None
    region: str | None = None
    platform: Platform = Platform.WEB


class Shown(Record, frozen=True, kw_only=True):
    """The answer's items in parallel columns; the first is position 1.

    Empty for candidates of recall alone: what another ranker shows of them is not known.
    """

    item_id: list[str]
    propensity: list[float]
    """Chance in (0, 1] that this item stood at this position."""
    explore: list[bool]
    """True where chance, not the score, put it there."""
    sponsored: list[bool]
    campaign: list[Campaign | None] = []
    """By which kind of campaign: its ad rate (`pls`) or an auction place (`plx`); empty in what was
    logged before there were auction places."""


class CandidateColumns(Record, frozen=True, kw_only=True):
    """The first candidates as they stood when the answer was made, in parallel columns.

    They are in the order of the answer: entry i is the item at position i + 1 as far as it was
    shown. Facts are those of the moment.
    """

    item_id: list[str]
    sources: list[int]
    """Bit set of recall sources."""
    recall_rank: list[int]
    """Place in the merge, 1 = first."""
    merged: list[float]
    score: list[float] | None = None
    shadow: list[float] | None = None
    """Scores of a ranker that does not serve: the version `ranker_shadow`."""
    probability: list[float] | None = None
    blend: list[float] | None = None
    ad_rate_bp: list[int]
    price_minor: list[int | None]
    formats: list[int]
    """`FormatBits`."""
    seller_id: list[str | None]


class Decision(Record, frozen=True, kw_only=True):
    """One answer of the funnel or of a slot policy.

    Its feature rows, float32[len(candidates.item_id), F], are kept beside it.
    """

    decision_id: Id
    occurred_at: Micros
    surface: str
    subject: Subject
    context: DecisionContext
    shown: Shown
    candidates: CandidateColumns | None = None
    candidate_count: int = 0
    """Candidates that there were, logged or not."""
    policy: str = "funnel"
    versions: dict[str, str] = {}
    flags: dict[str, str] = {}
    experiments: dict[str, str] = {}
    slate_propensity: Probability | None = None
    """Chance of the arm that ordered the list, where strengths of the blend are tried; what is
    `shown` has its chances given that arm."""
    epsilon: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Share of answers in random order when this one was made."""
    degraded: tuple[str, ...] = ()
    ms: dict[str, float] = {}
    traceparent: str | None = None
    feature_spec: str | None = None
    """Hash of the feature specification of the logged rows."""
    writer: str = ""
    """The process that logged it, this start of it."""
    sequence: int = 0
    """1, 2, 3, … for each writer: a gap is a loss."""
