"""The funnel: recall → features → rank → calibrate → blend, as plain composition.

HTTP, `kindred recommend` and `kindred evaluate` call `run`; nothing else orders items.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from kindred.indexer.store.port import Plan
from kindred.rerank.arrange import arranged, boosted
from kindred.rerank.auction_pool import Deliveries
from kindred.rerank.auction_stage import Auction
from kindred.rerank.blend import blend
from kindred.rerank.calibration import Calibration
from kindred.rerank.exclude import Exclusions
from kindred.rerank.features import Context, assemble
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.pins import Pins, pins_of, with_pinned
from kindred.rerank.rules import RuleBook
from kindred.rerank.trail import Trail
from kindred.retrieval.merge import Weights
from kindred.retrieval.queries import Queries
from kindred.retrieval.recall import recall
from kindred.retrieval.sources import Corpus
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows
from kindred.schemas.settings import BlendSettings, DiversitySettings, RecallSettings

Stage = Literal["recall", "rank", "blend"]


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


def run(
    funnel: Funnel,
    queries: Queries,
    *,
    k: int | Rows,
    asked: Asked = NOTHING_BESIDE,
    until: Stage = "blend",
    sources: Iterable[str] | None = None,
    deadline_ms: float | None = None,
    trail: Trail | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Ranked:
    """Ordered candidates for every query, as far as stage `until`.

    Past `deadline_ms` the remaining stages give way to the order so far, and `degraded` says
    which. The whole list comes back, or as much of it as the ranker knows to order; the caller
    takes the first k, which the blend's floor and caps look at. A `trail`, for a single query
    alone, is told what each stage left.
    """
    begin = clock()
    recalled = recall(queries, funnel.corpus, funnel.recall, sources, funnel.merge)
    at = clock()
    ms = {"recall": round((at - begin) * 1000, 4)}
    late = deadline_ms is not None and (at - begin) * 1000 > deadline_ms
    if trail is not None:
        trail.note("merge", recalled.candidates, mismatch=recalled.mismatched_rows)
    ranked = order(
        funnel, queries, recalled.candidates, k=k, asked=asked, until=until, late=late,
        trail=trail, clock=clock,
    )  # fmt: skip
    return Ranked(
        candidates=ranked.candidates,
        sponsored=ranked.sponsored,
        plans=recalled.plans,
        ms={**ms, **ranked.ms},
        fixed=ranked.fixed,
        drawn=ranked.drawn,
        left_out={**_counted({"mismatch": int(recalled.mismatched.sum())}), **ranked.left_out},
        degraded=(*recalled.degraded, *ranked.degraded),
    )


def order(
    funnel: Funnel,
    queries: Queries,
    candidates: Candidates,
    *,
    k: int | Rows,
    until: Stage,
    asked: Asked = NOTHING_BESIDE,
    late: bool = False,
    trail: Trail | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Ranked:
    """The funnel behind recall: candidates in the merge's order, ranked, blended and arranged."""
    corpus = funnel.corpus
    ms: dict[str, float] = {}
    degraded: list[str] = []
    at = clock()

    def lap(stage: str, since: float) -> float:
        now = clock()
        ms[stage] = round((now - since) * 1000, 4)
        return now

    acting = None if funnel.rules is None else funnel.rules.acting(queries, asked.surface)
    exclusions = Exclusions(corpus.columns, acting, asked.visitor, asked.leave_out)
    candidates, gone = exclusions.applied(candidates)
    left_out = {why: len(rows) for why, rows in gone.items()}
    if trail is not None:
        trail.note("exclude", candidates, **gone)
    pins = pins_of(acting, queries, corpus, exclusions) if until == "blend" else None
    if pins is not None:
        candidates = with_pinned(candidates, pins)
    if until != "recall" and (late or funnel.ranker is None):
        why = "past the deadline" if late else "no ranker serves"
        degraded.append(f"rank: merge order ({why})")
    if until != "recall" and not late and funnel.ranker is not None and funnel.ranker.depth:
        # What lies deeper than the ranker has ever seen it would only guess about.
        most = np.broadcast_to(np.maximum(k, funnel.ranker.depth), len(queries))
        within = candidates.ranks < most[candidates.queries]
        if pins is not None:
            within |= pins.among(candidates)
        candidates = candidates.take(within)
        if trail is not None:
            trail.note("depth", candidates)
    auction = None
    if until == "blend" and not late and len(candidates):
        auction = auction_of(funnel, queries, asked, exclusions, pins)
    if auction is not None:
        candidates = auction.entered(candidates)
    paid = np.zeros(len(candidates), np.bool_)
    if until != "recall" and not late and len(candidates):
        # Without a ranker too: what the log has of answers is what the first one learns from.
        features = assemble(Context(queries, candidates, corpus))
        candidates = candidates.with_columns(features=features)
        at = lap("features", at)
        if funnel.ranker is not None:
            score = funnel.ranker.score(features)
            scored = candidates.with_columns(score=score)
            if auction is not None:
                scored = auction.parted(scored)
            assert scored.score is not None
            candidates = scored.sorted_by(scored.score)
            at = lap("rank", at)
            if trail is not None:
                trail.note("rank", candidates)
        if until == "blend" and candidates.score is not None and funnel.calibration is not None:
            probability = calibrated(funnel.calibration, queries, candidates)
            candidates, paid = blend(
                candidates.with_columns(probability=probability),
                corpus.columns,
                funnel.blend,
                k,
                trail,
                acting,
            )
            at = lap("blend", at)
    fixed = drawn = None
    if until == "blend":
        if candidates.score is None:
            candidates = boosted(candidates, acting)
        final = arranged(
            candidates, corpus, funnel.diversity, k, acting=acting, pins=pins,
            seller_cap=funnel.blend.seller_cap, trail=trail,
        )  # fmt: skip
        candidates, paid, fixed = final.candidates, paid[final.entries], final.fixed
        left_out |= final.left_out
        at = lap("arrange", at)
    if auction is not None and fixed is not None:
        assert funnel.calibration is not None
        assert asked.chance is not None
        candidates, paid, fixed, drawn = auction.placed(
            candidates, paid, fixed, k, asked.chance,
            partial(calibrated, funnel.calibration, queries), funnel.auction_ranker,
        )  # fmt: skip
        if trail is not None:
            trail.note("auction", candidates)
        lap("auction", at)
    return Ranked(
        candidates=candidates,
        sponsored=paid,
        fixed=fixed,
        drawn=drawn,
        left_out=left_out,
        plans={},
        ms=ms,
        degraded=tuple(degraded),
    )


def auction_of(
    funnel: Funnel, queries: Queries, asked: Asked, exclusions: Exclusions, pins: Pins | None
) -> Auction | None:
    """The auction of a batch; None where there is none, or no ranker to tell what it costs."""
    settings, held = funnel.blend.auction, funnel.deliveries
    ranked = funnel.ranker is not None and funnel.calibration is not None
    if not (settings.places and ranked and held is not None and asked.chance is not None):
        return None
    return Auction.of(queries, funnel.corpus, held, settings, exclusions, pins)


def calibrated(calibration: Calibration, queries: Queries, candidates: Candidates) -> Doubles:
    """float64[n]: the probabilities of scored candidates, each by its platform's curve."""
    assert candidates.score is not None
    shown_on = queries.platforms
    return calibration.probability(
        candidates.score, None if shown_on is None else shown_on[candidates.queries]
    )


def _counted(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
