"""What the funnel takes, what it carries from stage to stage, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kindred.indexer.store.port import Plan
from kindred.rerank.auction_pool import Deliveries
from kindred.rerank.auction_stage import Auction
from kindred.rerank.calibration import Calibration
from kindred.rerank.exclude import Exclusions
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.pins import Pins
from kindred.rerank.rules import Acting, RuleBook
from kindred.rerank.trail import Trail
from kindred.retrieval.merge import Weights
from kindred.retrieval.queries import Queries
from kindred.retrieval.sources import Corpus
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows
from kindred.schemas.settings import BlendSettings, DiversitySettings, RecallSettings

Stage = Literal["recall", "rank", "blend"]
"""How far down the funnel an answer goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """What one answer is made with: one consistent set, swapped whole."""

    corpus: Corpus
    recall: RecallSettings
    blend: BlendSettings
    ranker: Ranker | None = None
    calibration: Calibration | None = None
    merge: Weights | None = None
    """Learned weights of the merge; None: those of `recall`"""
    rules: RuleBook | None = None
    """What merchandisers want otherwise; None: nothing"""
    deliveries: Deliveries | None = None
    """Views that auction items have had; None leaves auctions out"""
    auction_ranker: Ranker | None = None
    """Scores the items of an auction's pool; None: their similarity to the question does"""
    diversity: DiversitySettings | None = None
    """None: near-duplicates stay, and nothing is spread, as measurements of an order want it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for beside the question; the default changes nothing.

    The moment is the queries' own.
    """

    surface: str = ""
    """Where the answer will stand, such as `view_item`: rules may be for some surfaces alone"""
    leave_out: Mapping[str, Rows] = field(default_factory=dict)
    """Reason -> catalogue rows that may not come back, such as what was bought already"""
    visitor: str | None = None
    """The user's id: what they sell themselves may not come back"""
    chance: np.random.Generator | None = None
    """What draws the items of auction places; None leaves these places to everybody"""


NOTHING_BESIDE = Asked()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Ordered candidates of a batch, and what it took."""

    candidates: Candidates
    sponsored: Mask
    """bool[n]: in the list as a sponsored item"""
    fixed: Mask | None = None
    """bool[n]: at a place that a rule or an auction gave it, which chance leaves alone; None: none
    is"""
    drawn: Doubles | None = None
    """float64[n]: chance of what was drawn to its auction place, NaN elsewhere; None: no draw"""
    plans: dict[str, Plan]
    """How each vector space was searched"""
    ms: dict[str, float]
    """Milliseconds by stage"""
    left_out: dict[str, int] = field(default_factory=dict)
    """Candidates that a rule dropped, by rule"""
    degraded: tuple[str, ...] = field(default=())


@dataclass(slots=True, kw_only=True)
class Underway:
    """One batch on its way through the stages behind recall, each of which changes it in place."""

    funnel: Funnel
    queries: Queries
    asked: Asked
    k: int | Rows
    late: bool
    """Whether the deadline has passed: nothing is ranked or blended any more"""
    trail: Trail | None
    acting: Acting | None
    """The rules that act on this batch"""
    exclusions: Exclusions
    candidates: Candidates
    """In the order as of now"""
    pins: Pins | None = None
    auction: Auction | None = None
    sponsored: Mask | None = None
    """bool[n] of the candidates as they stand; None: nothing was blended"""
    fixed: Mask | None = None
    drawn: Doubles | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
