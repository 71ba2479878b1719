"""The market's days: visitors arrive, browse and buy, tick by tick, until enough was shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kindred.experiments.marketsim.browsing import Browser
from kindred.experiments.marketsim.clock import rhythm
from kindred.schemas.ranking import Mask, Rows

GUESS = 60.0
"""Impressions of a visit, before there is a figure."""
LONGEST = 4
"""Times the planned span after which a market that shows too little is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of simulated time, and how much is to happen in it."""

    start: int
    """µs"""
    until: int
    """µs"""
    tick: int
    """µs: what is on sale, and who comes, is settled this often"""
    visits: int = 0
    """Visits spread over the span; 0 where `impressions` says how much"""
    impressions: int = 0
    """Shown items, at least"""


def drive(
    browser: Browser,
    span: Span,
    rng: np.random.Generator,
    *,
    on_open: Callable[[Mask], object] = lambda on_sale: None,  # noqa: ARG005
    on_tick: Callable[[int], object] = lambda shown: None,  # noqa: ARG005
) -> int:
    """Run the span; returns the moment at which it ended (µs).

    `on_open(on_sale)` is told what may be shown from now on, `on_tick(impressions)` how many were
    shown since the last call.
    """
    now, shown = span.start, browser.counts.impressions
    first, latest = shown, span.start + LONGEST * (span.until - span.start)
    visits = browser.counts.visits
    while now < latest and (
        now < span.until or browser.counts.impressions - first < span.impressions
    ):
        if span.impressions and browser.counts.impressions - first >= span.impressions:
            break
        on_open(browser.shelf.open(now))
        end = now + span.tick
        browser.arrive(_arrivals(browser, span, now, first, visits, rng))
        while browser.step(end):
            pass
        browser.settle(end)
        on_tick(browser.counts.impressions - shown)
        shown, now = browser.counts.impressions, end
    return now


def _arrivals(
    browser: Browser, span: Span, now: int, first: int, visits: int, rng: np.random.Generator
) -> Rows:
    """int64[n] µs: when visits of this tick begin."""
    counts = browser.counts
    share = span.tick / (span.until - span.start)
    if span.impressions:
        left = span.impressions - (counts.impressions - first)
        so_far = counts.visits - visits
        each = GUESS if so_far < 50 else max((counts.impressions - first) / so_far, 1.0)
        ticks = max((span.until - now) / span.tick, 1.0)
        expected = left / each / ticks
    else:
        expected = span.visits * share
    busy = float(rhythm(np.array([now]))[0])
    n = int(rng.poisson(max(expected * busy, 0.0)))
    return np.sort(now + (rng.random(n) * span.tick).astype(np.int64))
