"""How a filtered search is answered: chosen by counting what the filter lets through.

The engine's graph loses recall under regions and ranges, for some questions all of it (a region
whose points the graph does not link), while scoring ten thousand rows in numpy is exact and takes
a fraction of a millisecond. So few rows are scanned; otherwise the unfiltered graph is asked for
as many more as the filter is expected to refuse, the refused ones are dropped, and a question that
falls short is scanned after all. The engine's own filtered search lost up to half of the answers
here, also along links for the filter's keyword, so no plan uses it. `benchmarks/README.md` has the
figures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

import numpy as np

from kindred.indexer.columns import Columns
from kindred.indexer.store.port import Allowed, Found, Plan, Search, VectorSearch
from kindred.indexer.store.tables import VectorTable
from kindred.schemas.item import Status
from kindred.schemas.query import Filters
from kindred.schemas.settings import PlanSettings

_ACTIVE = Filters()


class FilterPlanner:
    """Evaluates filters, each once for a state of the columns, and chooses plans.

    The store is taken to hold the active rows, the tables and columns all of them.
    """

    def __init__(self, columns: Columns, settings: PlanSettings, ef: int = 256) -> None:
        """`ef` is the store's own beam width (`StoreSettings.ef`)."""
        self._columns = columns
        self._settings = settings
        self._ef = ef
        self._evaluated: OrderedDict[Filters, tuple[int, Allowed]] = OrderedDict()
        self._lock = Lock()

    def allowed(self, filters: Filters) -> Allowed:
        """The rows that pass; milliseconds for a million rows, nothing when asked again."""
        # Read before the columns are, so that what changes in between is evaluated again.
        version = self._columns.version
        with self._lock:
            known = self._evaluated.get(filters)
            if known is not None and known[0] == version:
                self._evaluated.move_to_end(filters)
                return known[1]
        allowed = Allowed(self._columns.mask(filters), filters)
        with self._lock:
            self._evaluated[filters] = (version, allowed)
            self._evaluated.move_to_end(filters)
            if len(self._evaluated) > self._settings.cache:
                self._evaluated.popitem(last=False)
        return allowed

    def plan(
        self, allowed: Allowed, k: int, table: VectorTable | None = None, questions: int = 1
    ) -> Plan:
        """How to ask for k rows of a space among the allowed.

        `table` is the space's: only rows with a vector count, and its width makes reading dearer.
        `questions` is how many are asked together under this filter.
        """
        s = self._settings
        rows, total = _having(allowed, table), _having(self.allowed(_ACTIVE), table)
        share = min(1.0, rows / total) if total else 0.0
        scan = Plan(mode="scan", estimate=share, rows=rows)
        if allowed.filters is None or allowed.filters.statuses != (Status.ACTIVE,):
            return scan
        dim, size = (1, total) if table is None else (table.dim, table.size)
        reading = dim * min(rows, size // 4)
        if questions >= s.batch and dim * rows <= s.batch_values:
            return scan
        # Where all pass, too: a server's points may be a moment behind the columns.
        oversampling = s.oversampling / max(share, 1e-9)
        beam = max(self._ef, k * oversampling)
        affordable = s.scan_values if share < s.graph_share else 0
        if reading <= max(affordable, s.beam_rows * beam * dim):
            return scan
        return replace(scan, mode="graph", oversampling=oversampling, ef=int(beam))


def search_as_planned(
    store: VectorSearch, exact: VectorSearch, searches: Sequence[Search]
) -> list[Found]:
    """Answer every search, in order: scans by `exact`, all others by `store` in one batch.

    A question whose answer from the graph falls short of k, because too few of its neighbours
    pass, is asked again as a scan.
    """
    scans = [i for i, search in enumerate(searches) if search.plan.mode == "scan"]
    others = [i for i, search in enumerate(searches) if search.plan.mode != "scan"]
    found: dict[int, Found] = {}
    if others:
        found |= zip(others, store.search([searches[i] for i in others]), strict=True)
    if scans:
        found |= zip(scans, exact.search([searches[i] for i in scans]), strict=True)
    for i in others:
        _fill(exact, searches[i], found[i])
    return [found[i] for i in range(len(searches))]


def _fill(exact: VectorSearch, search: Search, found: Found) -> None:
    """Scan for the questions with fewer answers than rows that could be had."""
    wanted = search.k if search.plan.rows is None else min(search.k, search.plan.rows)
    if wanted == 0:
        return
    short = np.flatnonzero((found.rows[:, wanted - 1] < 0) & search.vectors.any(axis=1))
    if len(short):
        again = exact.search([replace(search, vectors=search.vectors[short])])[0]
        found.rows[short], found.scores[short] = again.rows, again.scores


def _having(allowed: Allowed, table: VectorTable | None) -> int:
    """How many of the allowed rows have a vector in the table."""
    if table is None:
        return allowed.count
    present = table.present
    n = min(len(present), len(allowed.mask))
    return int(np.count_nonzero(present[:n] & allowed.mask[:n]))
