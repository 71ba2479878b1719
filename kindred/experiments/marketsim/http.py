"""Simulated visitors before a running server: `POST /v1/similar` and `POST /v1/events`.

They browse on the wall clock, their pauses shortened by a factor. An event is sent once its time
has come, before the pages that come after it are asked for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import numpy as np
import polars as pl

from kindred.events.contract import FACTS
from kindred.experiments.marketsim.browsing import SECOND, Browser
from kindred.experiments.marketsim.clock import Shelf
from kindred.experiments.marketsim.records import SURFACE, Records, hex_ids
from kindred.experiments.marketsim.shops import Asked, Lists
from kindred.experiments.marketsim.visitors import Visitors
from kindred.experiments.marketsim.world import World
from kindred.retrieval.segments import offsets_of
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import KindredError
from kindred.schemas.item import Item, Status
from kindred.schemas.outcome import BatchResult, EventResult
from kindred.schemas.query import Answer
from kindred.schemas.ranking import Mask, Rows

BATCH = 500
"""Events or items of one request."""
PAUSE_S = 0.05
"""Between two looks at who is due."""
SHELF_S = 5.0
"""Between two looks at what is on sale."""
PAGES_OF_VISIT = 2.5
"""Pages of a visit, about: visits begin so often that pages come at the rate asked for."""
NEWEST = 2_000
"""Answers whose milliseconds the median is of."""
_encode = msgspec.json.Encoder().encode
_JSON = {"content-type": "application/json"}


class ServerRefuses(KindredError):
    """The server does not take what the simulated visitors send."""


@dataclass(slots=True)
class Traffic:
    """What went over the wire so far."""

    requests: int = 0
    failed: int = 0
    """Pages without an answer, and event batches that were lost"""
    events: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Why events were refused, and how often"""
    ms: deque[float] = field(default_factory=lambda: deque(maxlen=NEWEST))
    """Milliseconds of the newest answers"""

    def percentile(self, share: float) -> float:
        """Milliseconds within which `share` of the newest answers came; NaN without any."""
        return float(np.quantile(list(self.ms), share)) if self.ms else float("nan")


def check_market(client: httpx.Client, items: Sequence[Item]) -> None:
    """ServerRefuses unless the server holds these items, with their titles and prices.

    What is listed, sold and expired is put there: nothing else must have these ids.
    """
    for item in items:
        try:
            answer = client.get(f"/v1/items/{item.item_id}")
        except httpx.TransportError as error:
            raise ServerRefuses(f"{client.base_url} does not answer: {error}") from error
        if answer.status_code not in (200, 404):
            raise ServerRefuses(f"{answer.request.url} answers {answer.status_code}: {answer.text}")
        held = msgspec.json.decode(answer.content, type=Item) if answer.is_success else None
        if held is None or (held.title, held.price_minor) != (item.title, item.price_minor):
            raise ServerRefuses(
                f"{client.base_url} does not serve this workspace's market: its item "
                f"{item.item_id} is {'unknown' if held is None else repr(held.title)}, not "
                f"{item.title!r}"
            )


class ServerShop:
    """Answers pages by a server, several at a time; its catalogue follows the shelf."""

    def __init__(
        self,
        client: httpx.Client,
        pool: ThreadPoolExecutor,
        world: World,
        visitors: Visitors,
        records: Records,
        k: int,
        rng: np.random.Generator,
    ) -> None:
        self.traffic = Traffic()
        self._client, self._pool, self._k, self._rng = client, pool, k, rng
        self._world, self._visitors, self._records = world, visitors, records
        self._row_of = {item.item_id: row for row, item in enumerate(world.items)}
        self._decoder = msgspec.json.Decoder(Answer)

    def similar(self, asked: Asked) -> Lists:
        """See Shop.similar. A page that fails has an empty list."""
        traces = hex_ids(len(asked.seed), self._rng)
        jobs = self._pool.map(self._ask, self._requests(asked), traces.tolist())
        answers = [self._noted(*job) for job in jobs]
        rows = [self._rows(answer) for answer in answers]
        ids = np.array([None if a is None else a.decision_id for a in answers], object)
        lengths = np.array([len(r) for r in rows], np.int64)
        flat = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        return Lists(offsets_of(lengths), flat, ids, traces)

    def _requests(self, asked: Asked) -> list[bytes]:
        visits, places, prefix = asked.visits, self._world.places, self._records.prefix
        bodies = []
        for i, row in enumerate(asked.seed.tolist()):
            who, home = int(visits.visitor[i]), int(self._visitors.place[visits.visitor[i]])
            subject = {"device_id": f"{prefix}device-{who}", "session_id": asked.session[i]}
            if visits.logged_in[i]:
                subject["user_id"] = f"{prefix}user-{who}"
            bodies.append(
                _encode(
                    {
                        "item_id": self._world.items[row].item_id,
                        "subject": subject,
                        "place": {"lat": float(places.lat[home]), "lon": float(places.lon[home])},
                        "platform": "app" if self._visitors.app[who] else "web",
                        "surface": SURFACE,
                        "k": self._k,
                    }
                )
            )
        return bodies

    def _ask(self, body: bytes, trace: str) -> tuple[httpx.Response | None, float]:
        """The server's answer, None where there is none, and its milliseconds."""
        began = time.perf_counter()
        headers = {**_JSON, "traceparent": f"00-{trace}-{trace[:16]}-01"}
        try:
            answer = self._client.post("/v1/similar", content=body, headers=headers)
        except httpx.TransportError:
            return None, 0.0
        return answer, (time.perf_counter() - began) * 1000

    def _noted(self, answer: httpx.Response | None, ms: float) -> Answer | None:
        """What it says, None for a failure; counted by the one thread that counts."""
        self.traffic.requests += 1
        if answer is not None and answer.status_code in (401, 403):
            raise ServerRefuses(f"{answer.request.url} answers {answer.status_code}: {answer.text}")
        if answer is None or answer.status_code != 200:
            self.traffic.failed += 1
            return None
        self.traffic.ms.append(ms)
        return self._decoder.decode(answer.content)

    def _rows(self, answer: Answer | None) -> Rows:
        """Rows of the answer's items; what is not of this market is looked past."""
        if answer is None:
            return np.zeros(0, np.int64)
        get = self._row_of.get
        rows = np.array([get(item.item_id, -1) for item in answer.items], np.int64)
        if (rows < 0).any():
            raise ServerRefuses("the server's items are not those of this simulated market")
        return rows

    def tell(self, events: pl.DataFrame) -> None:
        """Send events, `BATCH` at a time, some batches at once."""
        named = events.drop(*FACTS)
        bodies = [
            [{k: v for k, v in row.items() if v is not None} for row in part.to_dicts()]
            for part in named.iter_slices(BATCH)
        ]
        for body, result in zip(bodies, self._pool.map(self._tell, bodies), strict=True):
            if result is None:
                self.traffic.failed += 1
            else:
                self._count(result, len(body))

    def _tell(self, events: list[dict[str, Any]]) -> EventResult | None:
        """What became of a batch; None where the server would not take it in three attempts."""
        for attempt in range(3):
            if attempt:
                time.sleep(0.2 * attempt)
            try:
                answer = self._client.post(
                    "/v1/events", content=_encode({"events": events}), headers=_JSON
                )
            except httpx.TransportError:
                continue
            if answer.status_code == 202:
                return msgspec.json.decode(answer.content, type=EventResult)
            if answer.status_code not in (503, 504):
                raise ServerRefuses(
                    f"{answer.request.url} answers {answer.status_code}: {answer.text}"
                )
        return None

    def _count(self, result: EventResult, sent: int) -> None:
        self.traffic.events += sent - len(result.rejected)
        self.traffic.rejected += len(result.rejected)
        for row in result.rejected:
            self.traffic.reasons[row.reason] = self.traffic.reasons.get(row.reason, 0) + 1

    def put(self, items: Sequence[Item]) -> None:
        """Tell the catalogue what was listed, sold or ended."""
        for first in range(0, len(items), BATCH):
            body = _encode({"items": items[first : first + BATCH]})
            try:
                answer = self._client.put("/v1/items", content=body, headers=_JSON)
            except httpx.TransportError as error:
                raise ServerRefuses(
                    f"{self._client.base_url} cannot be reached: {error}"
                ) from error
            if answer.status_code >= 400:
                raise ServerRefuses(
                    f"{answer.request.url} answers {answer.status_code}: {answer.text}"
                )
            msgspec.json.decode(answer.content, type=BatchResult)


class Displayed:
    """What the server's catalogue shows of the shelf, and what has to change."""

    def __init__(self, shelf: Shelf, shown: Mask) -> None:
        """`shown` bool[N]: active in the server's catalogue."""
        self._shelf, self._shown = shelf, shown.copy()

    def changes(self, now: int) -> list[Item]:
        """Items whose status is another at `now` (µs) than the server knows."""
        on_sale = self._shelf.open(now)
        rows = np.flatnonzero(on_sale != self._shown)
        self._shown = on_sale.copy()
        world = self._shelf.world
        return [
            world.items[row]
            if on_sale[row]
            else msgspec.structs.replace(
                world.items[row],
                status=Status.SOLD if self._shelf.sold(row) else Status.ENDED,
                ended_at=now,
            )
            for row in rows.tolist()
        ]


def drive_server(
    browser: Browser,
    shop: ServerShop,
    displayed: Displayed,
    rng: np.random.Generator,
    *,
    pages_per_second: float,
    seconds: float,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[], object] = lambda: None,
    clock: Callable[[], int] = micros_now,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Browse for `seconds` of wall time, or until `stop()`; events still to come are not sent."""
    began = last = shelf_at = clock()
    shop.put(displayed.changes(began))
    while (now := clock()) < began + seconds * SECOND and not stop():
        expected = pages_per_second / PAGES_OF_VISIT * (now - last) / SECOND
        n = int(rng.poisson(expected))
        browser.arrive(np.full(n, now, np.int64))
        browser.settle(now)
        events = browser.records.frame(until=now + 1)
        if len(events):
            shop.tell(events)
        browser.step(now + 1)
        if now - shelf_at > SHELF_S * SECOND:
            shop.put(displayed.changes(now))
            shelf_at = now
        on_step()
        last = now
        sleep(max(PAUSE_S - (clock() - now) / SECOND, 0.0))
