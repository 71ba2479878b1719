"""What was shown, to whom, and with which probability (SPEC §3.2)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kindred.schemas.base import Id, Micros, Record
from kindred.schemas.event import Platform
from kindred.schemas.query import Place, Subject

Probability = Annotated[float, Meta(gt=0, le=1)]


class DecisionContext(Record, frozen=True, kw_only=True):
    """What the request was about."""

    seed_item: Id | None = None
    query: str | None = None
    category: tuple[str, ...] = ()
    place: Place | None = None
    season: str | None = None
    region: str | None = None
    platform: Platform = Platform.WEB


class ShownItem(Record, frozen=True, kw_only=True):
    """One position of the answer, with the chance it had to be shown."""

    position: int
    item_id: Id
    propensity: Probability = 1.0
    explore: bool = False
    sponsored: bool = False


class CandidateRecord(Record, frozen=True, kw_only=True):
    """One candidate as it stood when the list was made."""

    item_id: Id
    sources: int
    """Bit set of recall sources."""
    recall_rank: int
    score: float
    probability: float | None = None
    ad_rate_bp: int = 0
    blend: float | None = None


class Decision(Record, frozen=True, kw_only=True):
    """One answer of the funnel or of a slot policy."""

    decision_id: Id
    occurred_at: Micros
    surface: str
    subject: Subject
    context: DecisionContext
    shown: tuple[ShownItem, ...]
    candidates: Annotated[tuple[CandidateRecord, ...], Meta(max_length=60)] = ()
    candidate_count: int = 0
    policy: str = "funnel"
    versions: dict[str, str] = {}
    flags: dict[str, str] = {}
    experiments: dict[str, str] = {}
    slate_propensity: Probability | None = None
    epsilon: Annotated[float, Meta(ge=0, le=1)] = 0.0
    degraded: tuple[str, ...] = ()
    ms: dict[str, float] = {}
    traceparent: str | None = None
    feature_spec: str | None = None
    """Hash of the feature specification of the logged rows."""
