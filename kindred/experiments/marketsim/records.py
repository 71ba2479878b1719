"""What visitors do as rows of the event log, gathered in columns."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.events.actions import PRICED
from kindred.events.contract import EVENT_SCHEMA, event_columns
from kindred.experiments.marketsim.visitors import Visitors
from kindred.experiments.marketsim.world import World
from kindred.schemas.event import ACTION_CODE, ACTIONS, Action
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Mask, Rows

SURFACE = "view_item"
_NAMES = pl.Series([a.value for a in ACTIONS])
_KINDS = {Action.SEARCH: "query", Action.CATEGORY_VIEW: "category"}
_KIND_OF = pl.Series([_KINDS.get(a, "item") for a in ACTIONS])
_PRICED = np.isin(np.arange(len(ACTIONS)), [ACTION_CODE[a.value] for a in PRICED])
_PAID = ACTION_CODE[Action.PURCHASE.value]


def time_ordered_ids(at: Rows, rng: np.random.Generator) -> list[str]:
    """A UUID of version 7 (RFC 9562) for each moment of `at` int64[n] µs, random bits of `rng`."""
    random = rng.integers(0, 1 << 62, (2, len(at)), dtype=np.int64)
    high = ((at // 1000) << 16) | 0x7000 | (random[0] & 0xFFF)
    low = random[1] | np.int64(-(1 << 63))  # the two highest bits are 10
    return [
        str(uuid.UUID(int=((h & 0xFFFFFFFFFFFFFFFF) << 64) | (w & 0xFFFFFFFFFFFFFFFF)))
        for h, w in zip(high.tolist(), low.tolist(), strict=True)
    ]


def hex_ids(count: int, rng: np.random.Generator) -> NDArray[np.object_]:
    """object[count] of 32 hexadecimal digits: W3C trace ids."""
    digits = rng.bytes(16 * count).hex()
    return np.array([digits[i : i + 32] for i in range(0, len(digits), 32)], object)


def session_name(prefix: str, number: Rows) -> NDArray[np.object_]:
    """object[n]: session ids of visits by number."""
    return np.array([f"{prefix}{n}" for n in number.tolist()], object)


class Records:
    """Events on their way to the log: `add` columns, `frame` takes all of them at once."""

    def __init__(
        self, world: World, visitors: Visitors, rng: np.random.Generator, prefix: str = ""
    ) -> None:
        """`prefix` begins the ids of visitors and sessions."""
        self.prefix = prefix
        self._visitors, self._rng = visitors, rng
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._waiting = 0
        items = world.items
        self._item = pl.Series([i.item_id for i in items], dtype=pl.String)
        self._seller = pl.Series([i.seller_id for i in items], dtype=pl.String)
        paid = np.array([i.campaign is Campaign.PLS for i in items], bool)
        rate = np.array([i.ad_rate_bp for i in items], np.int64)
        self._facts = world.formats, np.where(paid, rate, 0), world.price.astype(np.int64)
        self._postcode = pl.Series(world.places.postcode, dtype=pl.String).gather(visitors.place)
        self._country = next((i.country for i in items if i.country), None)

    def __len__(self) -> int:
        return self._waiting

    def add(
        self,
        action: Action | NDArray[np.integer],
        at: Rows,
        visitor: Rows,
        session: NDArray[np.object_],
        logged_in: Mask,
        *,
        row: Rows | None = None,
        words: NDArray[np.object_] | None = None,
        decision: NDArray[np.object_] | None = None,
        trace: NDArray[np.object_] | None = None,
        position: Rows | None = None,
        dwell: Rows | None = None,
    ) -> None:
        """n events, of one action or of codes int[n]; `words` are what was searched or opened."""
        n = len(at)
        if not n:
            return
        code = ACTION_CODE[action.value] if isinstance(action, Action) else action
        none, nobody = np.full(n, -1, np.int64), np.full(n, None, object)
        self._parts.append(
            (
                np.broadcast_to(np.asarray(code, np.int16), (n,)), at, visitor, session, logged_in,
                none if row is None else row, nobody if words is None else words,
                nobody if decision is None else decision, nobody if trace is None else trace,
                none if position is None else position, none if dwell is None else dwell,
            )
        )  # fmt: skip
        self._waiting += n

    def frame(self, until: int | None = None) -> pl.DataFrame:
        """The waiting events before `until` in the columns of `EVENT_SCHEMA`, oldest first."""
        if not self._parts:
            return pl.DataFrame(schema=EVENT_SCHEMA)
        columns = tuple(np.concatenate(part) for part in zip(*self._parts, strict=True))
        order = np.argsort(columns[1], kind="stable")
        due = len(order) if until is None else int((columns[1] < until).sum())
        self._parts = [tuple(c[order[due:]] for c in columns)] if due < len(order) else []
        self._waiting = len(order) - due
        return self._table(*(c[order[:due]] for c in columns))

    def _table(
        self, code: Any, at: Any, visitor: Any, session: Any, logged_in: Any, row: Any, words: Any,
        decision: Any, trace: Any, position: Any, dwell: Any,
    ) -> pl.DataFrame:  # fmt: skip
        formats, rate, price = self._facts
        there = row >= 0
        at_row = np.where(there, row, 0)
        priced = _PRICED[code] & there
        bought = (code == _PAID) & there
        app = self._visitors.app[visitor]
        ids = pl.Series(time_ordered_ids(at, self._rng), dtype=pl.String)
        who = pl.Series(visitor).cast(pl.String)

        def some(values: Any, where: Any, dtype: Any) -> pl.Series:
            return pl.select(
                pl.when(pl.Series(where)).then(pl.Series(values)).otherwise(None).cast(dtype)
            ).to_series()

        words_of = pl.Series(words.tolist(), dtype=pl.String)
        known = pl.Series(trace.tolist(), dtype=pl.String)
        span = ids.str.replace_all("-", "").str.slice(16)
        told = pl.DataFrame(
            {
                "event_id": ids,
                "occurred_at": at,
                "action": _NAMES.gather(code),
                "entity_id": self._item.gather(at_row).zip_with(pl.Series(there), words_of),
                "entity_kind": _KIND_OF.gather(code),
                "user_id": some(f"{self.prefix}user-" + who, logged_in, pl.String),
                "device_id": f"{self.prefix}device-" + who,
                "session_id": pl.Series(session.tolist(), dtype=pl.String),
                "logged_in": logged_in,
                "platform": pl.Series(["web", "app"]).gather(app.astype(np.int64)),
                "text": some(words_of, code == ACTION_CODE["search"], pl.String),
                "surface": some(np.full(len(at), SURFACE), trace != None, pl.String),  # noqa: E711
                "decision_id": pl.Series(decision.tolist(), dtype=pl.String),
                "position": some(position, position >= 0, pl.Int64),
                "traceparent": "00-" + known + "-" + span + "-01",
                "country": pl.Series([self._country] * len(at), dtype=pl.String),
                "postcode": self._postcode.gather(visitor),
                "value_minor": some(price[at_row], bought, pl.Int64),
                "dwell_ms": some(dwell, dwell >= 0, pl.Int64),
                "formats": some(formats[at_row], priced, pl.UInt8),
                "seller_id": some(self._seller.gather(at_row), priced, pl.String),
                "ad_rate_bp": some(rate[at_row], priced, pl.UInt16),
            }
        )  # fmt: skip
        return event_columns(told)
