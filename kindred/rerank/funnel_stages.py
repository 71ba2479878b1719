"""The stages behind recall, each a step that changes the batch on its way.

A stage tells which catalogue rows it took out, by the rule that did it, or None where it had
nothing to do. In what order they run is told in `rerank.funnel`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from kindred.rerank.arrange import arranged, boosted
from kindred.rerank.auction_stage import Auction
from kindred.rerank.blend import blend
from kindred.rerank.calibration import Calibration
from kindred.rerank.features import Context, assemble
from kindred.rerank.funnel_parts import Underway
from kindred.rerank.pins import pins_of, with_pinned
from kindred.retrieval.queries import Queries
from kindred.schemas.ranking import Candidates, Doubles, Rows

Lost = dict[str, Rows]


def exclude(batch: Underway) -> Lost:
    """Take out what the request or a rule refuses, before anything is computed about it."""
    batch.candidates, gone = batch.exclusions.applied(batch.candidates)
    batch.left_out |= {why: len(rows) for why, rows in gone.items()}
    return gone


def pin(batch: Underway) -> Lost | None:
    """Let in what rules give a place, whether recall found it or not."""
    batch.pins = pins_of(batch.acting, batch.queries, batch.funnel.corpus, batch.exclusions)
    if batch.pins is None:
        return None
    batch.candidates = with_pinned(batch.candidates, batch.pins)
    return {}


def cut(batch: Underway) -> Lost | None:
    """Leave out what lies deeper than the ranker has ever seen: it would only guess about that."""
    ranker = batch.funnel.ranker
    if batch.late or ranker is None or not ranker.depth:
        return None
    candidates = batch.candidates
    most = np.broadcast_to(np.maximum(batch.k, ranker.depth), len(batch.queries))
    within = candidates.ranks < most[candidates.queries]
    if batch.pins is not None:
        within |= batch.pins.among(candidates)
    batch.candidates = candidates.take(within)
    return {}


def enter(batch: Underway) -> Lost | None:
    """Put the auction's pool beside the candidates, where a ranker can tell what it costs."""
    funnel, chance = batch.funnel, batch.asked.chance
    settings, held = funnel.blend.auction, funnel.deliveries
    if batch.late or funnel.ranker is None or funnel.calibration is None or chance is None:
        return None
    if not settings.places or held is None or not len(batch.candidates):
        return None
    batch.auction = Auction.of(
        batch.queries, funnel.corpus, held, settings, batch.exclusions, batch.pins
    )
    if batch.auction is None:
        return None
    batch.candidates = batch.auction.entered(batch.candidates)
    return {}


def describe(batch: Underway) -> Lost | None:
    """Compute the features, without a ranker too: the first one learns from them in the log."""
    if batch.late or not len(batch.candidates):
        return None
    features = assemble(Context(batch.queries, batch.candidates, batch.funnel.corpus))
    batch.candidates = batch.candidates.with_columns(features=features)
    return {}


def rank(batch: Underway) -> Lost | None:
    """Order by the ranker's score; the auction's pool, ranked along, goes its own way again."""
    ranker = batch.funnel.ranker
    if batch.late or ranker is None:
        why = "past the deadline" if batch.late else "no ranker serves"
        batch.degraded.append(f"rank: merge order ({why})")
        return None
    features = batch.candidates.features
    if features is None:
        return None
    scored = batch.candidates.with_columns(score=ranker.score(features))
    if batch.auction is not None:
        scored = batch.auction.parted(scored)
    assert scored.score is not None
    batch.candidates = scored.sorted_by(scored.score)
    return {}


def blend_rates(batch: Underway) -> Lost | None:
    """Turn scores into probabilities, and let ad rates and boosts move them."""
    funnel, candidates = batch.funnel, batch.candidates
    if candidates.score is None or funnel.calibration is None:
        return None
    probability = calibrated(funnel.calibration, batch.queries, candidates)
    batch.candidates, batch.sponsored = blend(
        candidates.with_columns(probability=probability),
        funnel.corpus.columns,
        funnel.blend,
        batch.k,
        batch.trail,
        batch.acting,
    )
    return {}


def arrange(batch: Underway) -> Lost:
    """Collapse near-duplicates, spread what is alike, bury, and put pins at their places."""
    funnel, candidates = batch.funnel, batch.candidates
    if candidates.score is None:
        candidates = boosted(candidates, batch.acting)
    final = arranged(
        candidates, funnel.corpus, funnel.diversity, batch.k, acting=batch.acting, pins=batch.pins,
        seller_cap=funnel.blend.seller_cap, trail=batch.trail,
    )  # fmt: skip
    batch.candidates, batch.fixed = final.candidates, final.fixed
    if batch.sponsored is not None:
        batch.sponsored = batch.sponsored[final.entries]
    batch.left_out |= final.left_out
    return {}


def seat(batch: Underway) -> Lost | None:
    """Draw items of the auction's pool, and set them at its places."""
    funnel, auction, chance = batch.funnel, batch.auction, batch.asked.chance
    if auction is None:
        return None
    # An auction is entered only where all of these are there.
    assert funnel.calibration is not None
    assert chance is not None
    assert batch.sponsored is not None
    assert batch.fixed is not None
    batch.candidates, batch.sponsored, batch.fixed, batch.drawn = auction.placed(
        batch.candidates, batch.sponsored, batch.fixed, batch.k, chance,
        partial(calibrated, funnel.calibration, batch.queries), funnel.auction_ranker,
    )  # fmt: skip
    return {}


def calibrated(calibration: Calibration, queries: Queries, candidates: Candidates) -> Doubles:
    """float64[n]: the probabilities of scored candidates, each by its platform's curve."""
    assert candidates.score is not None
    shown_on = queries.platforms
    return calibration.probability(
        candidates.score, None if shown_on is None else shown_on[candidates.queries]
    )
