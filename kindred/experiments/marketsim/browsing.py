"""Visits under way: pages, lists, clicks, actions and purchases, a batch of visitors at a time.

The same visitors browse the funnel in process, a server over HTTP, or nothing but the shelf
(`shops.Organic`, which is how history comes about before there is anything to recommend with).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.marketsim.behaviour import Appeal, Exposures, draw_clicks, draw_deeds
from kindred.experiments.marketsim.clock import Purchases, Shelf
from kindred.experiments.marketsim.counts import Counts
from kindred.experiments.marketsim.records import Records, session_name
from kindred.experiments.marketsim.shops import Asked, Lists, Shop
from kindred.experiments.marketsim.visitors import (
    CATEGORY,
    CLICKED,
    NO_ITEM,
    SEARCH,
    Visits,
    begin_visits,
    draw_leaves,
    draw_targets,
    drifted,
    remembering,
)
from kindred.retrieval.segments import lengths_of, owners_of
from kindred.schemas.event import ACTION_CODE, Action
from kindred.schemas.ranking import Doubles, Mask, Rows

SECOND = 1_000_000
SHELF = 30
"""Results of a search that a visitor looks through for one to open."""
WORDS = 3
"""Most words of a search."""
NEW_LEAF = 0.15
"""Share of renewed searches that turn to another category."""
VIEW = ACTION_CODE[Action.VIEW.value]


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """n listings being viewed."""

    visit: Rows
    """int64[n]: place in the batch of visits"""
    row: Rows
    at: Rows
    decision: NDArray[np.object_]
    trace: NDArray[np.object_]
    position: Rows


class Browser:
    """All visits under way over one shelf. `arrive`, then `step` until it returns 0, `settle`."""

    def __init__(
        self,
        appeal: Appeal,
        shelf: Shelf,
        shop: Shop,
        records: Records,
        rng: np.random.Generator,
        *,
        speed: float = 1.0,
        first_visit: int = 0,
    ) -> None:
        """`speed` > 1 shortens every pause of the visitors by that factor."""
        self.appeal, self.shelf, self.shop, self.records = appeal, shelf, shop, records
        self.knobs = appeal.knobs
        self.counts = Counts()
        self.exposures = Exposures(len(appeal.world.category))
        self.pending = Purchases.none()
        self._rng, self._speed = rng, speed
        self._number = first_visit
        self._live: Visits | None = None
        self._titles = np.array([i.title for i in appeal.world.items], object)
        self._paths = np.array(["/".join(i.category) for i in appeal.world.items], object)

    def continued(self, shop: Shop, rng: np.random.Generator, speed: float = 1.0) -> Browser:
        """The same market from now on answered by another shop; counts begin again.

        Visits under way, what visitors have tired of and what they mean to buy go on.
        """
        other = Browser(
            self.appeal, self.shelf, shop, self.records, rng, speed=speed,
            first_visit=self._number,
        )  # fmt: skip
        other.exposures, other.pending, other._live = self.exposures, self.pending, self._live
        return other

    @property
    def live(self) -> int:
        """Visits under way."""
        return 0 if self._live is None else len(self._live)

    def arrive(self, at: Rows) -> None:
        """A new visit at each moment."""
        if not len(at):
            return
        new = begin_visits(
            self.appeal.world, self.appeal.visitors, self.knobs.visitors, at, self._number,
            self._rng,
        )  # fmt: skip
        self._number += len(at)
        self.counts.visits += len(at)
        self._live = new if self._live is None else self._live.joined(new)

    def step(self, until: int) -> int:
        """One page of every visit whose next one is due before `until`; how many there were."""
        if self._live is None:
            return 0
        due = self._live.next_at < until
        if not due.any():
            return 0
        going, self._live = self._live.take(due), self._live.take(~due)
        visits, lists, at = self._pages(going)
        self._live = self._live.joined(self._look(visits, lists, at))
        return len(going)

    def settle(self, until: int) -> None:
        """The purchases that are due before `until`, in order of time."""
        due = self.pending.due < until
        if not due.any():
            return
        buying, self.pending = self.pending.take(due), self.pending.take(~due)
        buying = buying.take(np.argsort(buying.due, kind="stable"))
        bought = buying.take(self.shelf.sell(buying.row, buying.due))
        self.counts.purchases += len(bought)
        self._count(Action.PURCHASE, len(bought))
        self.records.add(
            Action.PURCHASE, bought.due, bought.visitor, bought.session, bought.logged_in,
            row=bought.row, decision=bought.decision, trace=bought.trace, position=bought.position,
        )  # fmt: skip

    def _count(self, action: Action, number: int) -> None:
        self.counts.actions[ACTION_CODE[action.value]] += number

    def _pages(self, visits: Visits) -> tuple[Visits, Lists, Rows]:
        """Open the pages: arrive at an item, view it, ask for similar ones."""
        at = visits.next_at
        landing = visits.entry != CLICKED
        if landing.any():
            visits = self._land(visits, np.flatnonzero(landing))
        visits = visits.take(visits.seed >= 0)  # nothing at all is on sale
        at = visits.next_at
        self.counts.pages += len(visits)
        asked = Asked(visits, self._session(visits), visits.seed, at)
        lists = self.shop.similar(asked)
        return replace(visits, pages=visits.pages + 1), lists, at

    def _session(self, visits: Visits) -> NDArray[np.object_]:
        return session_name(f"{self.records.prefix}visit-", visits.number)

    def _land(self, visits: Visits, index: Rows) -> Visits:
        """Pick an item out of a search, a category or a link, and view it."""
        some = visits.take(index)
        rows = self.shelf.draw(some.leaf, SHELF, self._rng)
        n = len(index)
        flat = np.repeat(np.arange(n), SHELF)
        there = rows.ravel()
        worth = self.appeal.worth(some.visitor[flat], some.target[flat], np.maximum(there, 0))
        liking = worth.reshape(n, SHELF) + self._rng.gumbel(size=(n, SHELF))
        chosen = rows[np.arange(n), np.argmax(liking, axis=1)]
        found = chosen >= 0
        self._enter(some.take(found), chosen[found])
        seed, next_at = visits.seed.copy(), visits.next_at.copy()
        seed[index] = chosen
        # A search or a category comes first, its result a few seconds later.
        pause = np.where(some.entry == NO_ITEM, 0, (6 * SECOND / self._speed))
        next_at[index] = visits.next_at[index] + pause.astype(np.int64)
        visits = replace(visits, seed=seed, next_at=next_at)
        ok = index[found]
        nobody = np.full(len(ok), None, object)
        views = Views(ok, seed[ok], next_at[ok], nobody, nobody, np.full(len(ok), -1))
        return self._view(visits, views)

    def _enter(self, visits: Visits, chosen: Rows) -> None:
        """The search or category view by which a visit comes to `chosen`."""
        session = self._session(visits)
        searched, opened = visits.entry == SEARCH, visits.entry == CATEGORY
        count = self._rng.integers(1, WORDS + 1, len(chosen))
        titles = self._titles[chosen]
        words = np.array(
            [" ".join(t.lower().split()[:c]) or "item" for t, c in zip(titles, count, strict=True)],
            object,
        )
        for action, where, told in (
            (Action.SEARCH, searched, words),
            (Action.CATEGORY_VIEW, opened, self._paths[chosen]),
        ):
            self._count(action, int(where.sum()))
            self.records.add(
                action, visits.next_at[where], visits.visitor[where], session[where],
                visits.logged_in[where], words=told[where],
            )  # fmt: skip

    def _look(self, visits: Visits, lists: Lists, at: Rows) -> Visits:
        """Look through the lists, click, view what was clicked; the visits that go on."""
        owner = owners_of(lists.offsets)
        rank = np.arange(len(owner)) - np.repeat(lists.offsets[:-1], lengths_of(lists.offsets)) + 1
        app = self.appeal.visitors.app[visits.visitor]
        who = visits.visitor[owner]
        worth = self.appeal.worth(who, visits.target[owner], lists.rows)
        looks = self.exposures.count(who, lists.rows)
        examined, clicked = draw_clicks(
            self.appeal.clicked(worth, lists.rows), rank, app[owner], looks,
            self.knobs.attraction, self._rng,
        )  # fmt: skip
        passed = examined & ~clicked
        self.exposures.add(who[passed], lists.rows[passed])
        logged = lists.decision != None  # noqa: E711
        self.counts.impressions += int(lengths_of(lists.offsets)[logged].sum())
        self._inview(visits, lists, at, owner, rank, examined & logged[owner])
        pause = self._pause(len(visits))
        c = np.flatnonzero(clicked)
        clicked_at = at[owner[c]] + pause[owner[c]] + rank[c] * int(SECOND / self._speed)
        views = self._click(visits, lists, owner[c], rank[c], lists.rows[c], clicked_at)
        visits = self._view(visits, views)
        return self._go_on(visits, views, worth[c], at + pause)

    def _pause(self, n: int) -> Rows:
        k = self.knobs.visitors
        seconds = k.page_seconds * np.exp(self._rng.normal(0, k.page_sigma, n)) / self._speed
        return np.asarray((seconds * SECOND).astype(np.int64))

    def _inview(
        self, visits: Visits, lists: Lists, at: Rows, owner: Rows, rank: Rows, seen: Mask
    ) -> None:
        np.add.at(self.counts.shown_at, rank[(lists.decision != None)[owner]], 1)  # noqa: E711
        seen = seen & (self._rng.random(len(seen)) < self.knobs.attraction.inview_share)
        i = np.flatnonzero(seen)
        self._count(Action.INVIEW, len(i))
        self.records.add(
            Action.INVIEW, at[owner[i]] + (rank[i] * SECOND / self._speed).astype(np.int64) // 2,
            visits.visitor[owner[i]], self._session(visits)[owner[i]], visits.logged_in[owner[i]],
            row=lists.rows[i], decision=lists.decision[owner[i]], trace=lists.trace[owner[i]],
            position=rank[i],
        )  # fmt: skip

    def _click(
        self, visits: Visits, lists: Lists, visit: Rows, rank: Rows, row: Rows, at: Rows
    ) -> Views:
        """The clicks, as views; some clients lose the decision and keep the trace."""
        decision, trace = lists.decision[visit], lists.trace[visit]
        logged = decision != None  # noqa: E711
        forgets = self._rng.random(len(visit)) < self.knobs.actions.trace_only
        named = only(decision, ~forgets)
        np.add.at(self.counts.clicked_at, rank[logged], 1)
        self.counts.clicks += int(logged.sum())
        self._count(Action.CLICK, int(logged.sum()))
        position = np.where(logged, rank, -1)
        self.records.add(
            Action.CLICK, at[logged], visits.visitor[visit[logged]],
            self._session(visits)[visit[logged]], visits.logged_in[visit[logged]],
            row=row[logged], decision=named[logged], trace=trace[logged], position=rank[logged],
        )  # fmt: skip
        return Views(visit, row, at + int(SECOND / self._speed), named, trace, position)

    def _view(self, visits: Visits, views: Views) -> Visits:
        """View listings, act on them, mean to buy; the visits that remember it."""
        if not len(views.row):
            return visits
        k, owner = self.knobs.actions, views.visit
        who, logged_in = visits.visitor[owner], visits.logged_in[owner]
        session = self._session(visits)[owner]
        worth = self.appeal.seen_whole(
            self.appeal.worth(who, visits.target[owner], views.row), views.row
        )
        self._count(Action.VIEW, len(owner))
        self.records.add(
            Action.VIEW, views.at, who, session, logged_in, row=views.row,
            decision=views.decision, trace=views.trace, position=views.position,
        )  # fmt: skip
        seconds = k.dwell_seconds * np.exp(self._rng.normal(0, 0.6, len(owner)))
        dwell = (seconds * (0.5 + 1 / (1 + np.exp(-worth))) * SECOND / self._speed).astype(np.int64)
        self._count(Action.DWELL, len(owner))
        self.records.add(
            Action.DWELL, views.at + dwell, who, session, logged_in, row=views.row,
            dwell=dwell // 1000,
            decision=views.decision, trace=views.trace, position=views.position,
        )  # fmt: skip
        app = self.appeal.visitors.app[who]
        deeds = draw_deeds(worth, self.appeal.world.formats[views.row], app, k, self._rng)
        self._act(views, deeds.view, deeds.action, dwell, who, session, logged_in)
        self._mean_to_buy(views, deeds.buys, deeds.delay, who, session, logged_in)
        return remembering(visits, owner, views.row, deeds.strongest, views.at + dwell)

    def _act(
        self, views: Views, view: Rows, code: NDArray[np.int16], dwell: Rows, who: Rows,
        session: NDArray[np.object_], logged_in: Mask,
    ) -> None:  # fmt: skip
        at = views.at[view] + (dwell[view] * self._rng.uniform(0.3, 1, len(view))).astype(np.int64)
        self.counts.actions[: len(ACTION_CODE)] += np.bincount(code, minlength=len(ACTION_CODE))
        self.records.add(
            code, at, who[view], session[view], logged_in[view], row=views.row[view],
            decision=views.decision[view], trace=views.trace[view], position=views.position[view],
        )  # fmt: skip

    def _mean_to_buy(
        self, views: Views, buys: Mask, delay: Rows, who: Rows,
        session: NDArray[np.object_], logged_in: Mask,
    ) -> None:  # fmt: skip
        k, i = self.knobs.actions, np.flatnonzero(buys)
        wait = (delay[i] / self._speed).astype(np.int64)
        later = wait > k.same_visit_minutes * 60 * SECOND / self._speed
        chance = self._rng.random(len(i))
        kept = np.where(later, chance < k.kept_decision, chance >= k.lost_decision)
        again = np.array([f"{s}-again" for s in session[i]], object)
        self.pending = self.pending.joined(
            Purchases(
                due=views.at[i] + wait,
                row=views.row[i],
                visitor=who[i],
                session=np.where(later, again, session[i]),
                logged_in=logged_in[i],
                decision=only(views.decision[i], kept),
                trace=only(views.trace[i], kept),
                position=np.where(kept, views.position[i], -1),
            )
        )

    def _go_on(self, visits: Visits, views: Views, worth: Doubles, later: Rows) -> Visits:
        """Of each visit: the page of the best click, another search, or the end."""
        k, n, rng = self.knobs.visitors, len(visits), self._rng
        best = np.full(n, -1, np.int64)
        order = np.argsort(worth + rng.normal(0, 0.5, len(worth)), kind="stable")
        best[views.visit[order]] = order  # the last written is the best
        clicked = best >= 0
        going = rng.random(n) < np.where(clicked, k.continue_share, k.retry_share)
        target = drifted(visits.target, k.drift, rng)
        leaf = visits.leaf.copy()
        turns = np.flatnonzero(going & ~clicked & (rng.random(n) < NEW_LEAF))
        world, visitors = self.appeal.world, self.appeal.visitors
        leaf[turns] = draw_leaves(world, visitors, k, visits.visitor[turns], rng)
        target[turns] = draw_targets(world, visitors, k, visits.visitor[turns], leaf[turns], rng)
        at = np.maximum(best, 0)
        seed = views.row[at] if len(views.row) else np.full(n, -1, np.int64)
        opened = later.copy()  # what was clicked is opened beside the list, then looked at
        opened[views.visit] = 0
        np.maximum.at(opened, views.visit, views.at + int(SECOND / self._speed))
        return replace(
            visits,
            leaf=leaf,
            target=target,
            entry=np.where(clicked, CLICKED, SEARCH).astype(np.int8),
            seed=np.where(clicked, seed, -1),
            next_at=np.where(clicked, opened, later),
        ).take(going)


def only(values: NDArray[np.object_], where: Mask) -> NDArray[np.object_]:
    """The values where the mask holds, None elsewhere."""
    kept = values.copy()
    kept[~where] = None
    return kept
