"""What a user bought in the last days: the lake's purchases in memory, the open hours' in the log.

Only who was logged in is known again. A lake's file is read once, when it turns up: files never
change. Users are kept by a hash of their id.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import structlog

from kindred.events.database import Readers, translated
from kindred.events.lake import Lake
from kindred.events.telling import tell
from kindred.schemas.clock import DAY, micros_now
from kindred.schemas.errors import ArtefactError, LogError
from kindred.schemas.event import ACTION_CODE, Action, EntityKind

LOOK_S = 10.0
"""How often the lake is looked at for new files. A purchase that moves there from the log may be
overlooked for as long."""
_SCHEMA = {"user": pl.UInt64, "entity_id": pl.String, "occurred_at": pl.Int64}
_SEED = 7
_READ = (
    "SELECT DISTINCT entity_id FROM events WHERE user_id = ? AND occurred_at >= ? "
    f"AND action = {ACTION_CODE[Action.PURCHASE.value]} AND entity_kind = '{EntityKind.ITEM.value}'"
)


class Bought:
    """Purchases by user; safe for several threads. `close` ends its own."""

    def __init__(
        self,
        log: Path,
        lake: Path,
        days: int,
        clock: Callable[[], int] = micros_now,
        look_s: float = LOOK_S,
    ) -> None:
        """Reads what the lake holds before it returns; ArtefactError where that fails."""
        self._lake, self._days, self._clock, self._look_s = Lake(lake), days, clock, look_s
        self._readers = Readers(log, wait_s=0.1)
        self._seen: frozenset[Path] = frozenset()
        self._purchases = pl.DataFrame(schema=_SCHEMA)
        self._ended = threading.Event()
        self.refresh()
        self._thread = threading.Thread(target=self._follow, name="bought", daemon=True)
        self._thread.start()

    def of(self, user_id: str) -> list[str]:
        """Ids of the items, each once; LogError where the log cannot be read."""
        since = self._clock() - self._days * DAY
        held, user = self._purchases, pl.Series([user_id]).hash(_SEED).item()
        first, last = (held["user"].search_sorted(user, side) for side in ("left", "right"))
        mine = held[first:last]
        rolled = mine.filter(pl.col("occurred_at") >= since)["entity_id"].to_list()
        with translated("purchases", LogError):
            db = self._readers.connection()
            fresh = [] if db is None else db.execute(_READ, (user_id, since)).fetchall()
        return list(dict.fromkeys([*rolled, *(item for (item,) in fresh)]))

    def refresh(self) -> None:
        """Read the lake's new files, and forget what is too old. ArtefactError."""
        since = self._clock() - self._days * DAY
        files = frozenset(self._lake.files())
        new = sorted(files - self._seen)
        if not new:
            return
        purchases = self._lake.scan(since, among=new).filter(
            pl.col("action") == Action.PURCHASE.value,
            pl.col("entity_kind") == EntityKind.ITEM.value,
            pl.col("user_id").is_not_null(),
        )
        told = purchases.select(
            "entity_id", "occurred_at", user=pl.col("user_id").hash(_SEED)
        ).select(*_SCHEMA)
        try:
            found = told.collect(engine="streaming")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ArtefactError(f"the purchases in the lake cannot be read: {error}") from error
        held = self._purchases.filter(pl.col("occurred_at") >= since)
        self._purchases, self._seen = pl.concat([held, found]).sort("user"), files

    def close(self) -> None:
        """Release the files."""
        self._ended.set()
        self._thread.join()
        self._readers.close()

    def _follow(self) -> None:
        while not self._ended.wait(self._look_s):
            try:
                self.refresh()
            except ArtefactError as error:
                tell(structlog.get_logger("kindred.bought"), "purchases are not read", error)
