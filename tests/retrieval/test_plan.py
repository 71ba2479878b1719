"""Choosing how a filtered search is answered, and answering it so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import item
from contracts.vector_store import directions, rows_of

from kindred.indexer.columns import Columns
from kindred.indexer.store.edge import EdgeStore
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.port import Allowed, Plan, Search
from kindred.indexer.store.tables import VectorTable
from kindred.retrieval.plan import FilterPlanner, search_as_planned
from kindred.schemas.item import Status
from kindred.schemas.query import Filters, GeoRadius
from kindred.schemas.settings import PlanSettings, StoreSettings

DIM = 8
CHEAP = Filters(price_max_minor=99)
HOME = Filters(categories=(("home",),))
NEAR = Filters(geo=GeoRadius(lat=0.0, lon=0.0, radius_m=1000.0))


class Rows(Columns):
    """Columns of `size` rows of which the planner knows no more than how many pass."""

    def __init__(self, size: int, passing: dict[Filters, int]) -> None:
        super().__init__()
        self.evaluated = 0
        self.passing = {Filters(): size, **passing}
        self.size = size

    def mask(self, filters: Filters) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        self.evaluated += 1
        return np.arange(self.size) < self.passing[filters]


def table_of(size: int, dim: int) -> VectorTable:
    table = VectorTable(dim, 1)
    table._columns = (np.broadcast_to(np.float32(0), (size, dim)), np.ones(size, np.bool_))
    table._size = size
    return table


def plan_for(
    passing: int,
    size: int,
    filters: Filters = NEAR,
    *,
    dim: int = 100,
    k: int = 100,
    questions: int = 1,
) -> Plan:
    planner = FilterPlanner(Rows(size, {filters: passing}), PlanSettings())
    return planner.plan(planner.allowed(filters), k, table_of(size, dim), questions)


def test_few_rows_are_scanned() -> None:
    plan = plan_for(1_000, 1_000_000)
    assert (plan.mode, plan.rows, plan.estimate) == ("scan", 1000, 0.001)


def test_nearly_all_rows_are_found_in_the_graph() -> None:
    plan = plan_for(950_000, 1_000_000)
    assert plan.mode == "graph"
    assert plan.oversampling > 1 / 0.95
    assert plan_for(1_000_000, 1_000_000).mode == "graph"


def test_a_small_catalogue_is_scanned_whole() -> None:
    assert plan_for(5_000, 5_000).mode == "scan"


def test_between_them_the_graph_is_asked_for_as_many_more_as_are_refused() -> None:
    for filters in (HOME, NEAR):
        plan = plan_for(300_000, 1_000_000, filters)
        assert plan.mode == "graph"
        assert plan.oversampling >= 1 / 0.3


def test_a_scan_that_reads_less_than_the_graph_would_is_preferred() -> None:
    assert plan_for(20_000, 1_000_000, dim=1280).mode == "scan"
    assert plan_for(400_000, 1_000_000, dim=1280).mode == "graph"


def test_many_questions_share_a_scan() -> None:
    assert plan_for(40_000, 40_000).mode == "graph"
    assert plan_for(40_000, 40_000, questions=100).mode == "scan"


def test_the_store_holds_no_withdrawn_rows() -> None:
    sold = Filters(statuses=(Status.ACTIVE, Status.SOLD))
    assert plan_for(1_000_000, 1_000_000, sold).mode == "scan"


def test_only_rows_with_a_vector_count() -> None:
    columns = Rows(10_000, {NEAR: 5_000})
    planner = FilterPlanner(columns, PlanSettings())
    table = VectorTable(4)
    table.set(np.arange(4_000, 8_000), directions(4_000, 4))
    plan = planner.plan(planner.allowed(NEAR), 10, table)
    assert (plan.rows, plan.estimate) == (1_000, 0.25)


@pytest.mark.parametrize("passing", [0, 1, 10, 500_000, 1_000_000])
def test_a_plan_explains_itself(passing: int) -> None:
    told = plan_for(passing, 1_000_000).explain()
    assert told["rows"] == passing
    assert told["share"] == passing / 1_000_000
    assert told["mode"] in ("scan", "graph")
    assert told["exact"] == ("yes" if told["mode"] == "scan" else "no")


def test_an_empty_catalogue_has_a_plan() -> None:
    planner = FilterPlanner(Columns(), PlanSettings())
    assert planner.plan(planner.allowed(HOME), 10, VectorTable(4)).mode == "scan"


def test_a_filter_is_evaluated_once_for_a_state_of_the_columns() -> None:
    columns = Rows(100, {NEAR: 5, HOME: 6, CHEAP: 7})
    planner = FilterPlanner(columns, PlanSettings(cache=2))
    assert planner.allowed(NEAR) is planner.allowed(NEAR)
    assert columns.evaluated == 1
    columns.version += 1
    planner.allowed(NEAR)
    assert columns.evaluated == 2
    planner.allowed(HOME)
    planner.allowed(NEAR)
    planner.allowed(CHEAP)
    assert columns.evaluated == 4
    planner.allowed(NEAR)
    assert columns.evaluated == 4, "the one that was asked for longest ago went"
    planner.allowed(HOME)
    assert columns.evaluated == 5


@pytest.fixture
def shelves(tmp_path: Path) -> Iterator[tuple[EdgeStore, ExactStore, Columns]]:
    """400 items; the odd ones are cheap."""
    columns, table = Columns(), VectorTable(DIM)
    rows, vectors = np.arange(400), directions(400, DIM)
    columns.apply(rows, [item(price_minor=50 if row % 2 else 150) for row in rows])
    table.set(rows, vectors)
    store = EdgeStore.create(tmp_path / "shard", {"text": DIM}, StoreSettings())
    from kindred.indexer.store.payload import payload
    from kindred.indexer.store.port import Points

    payloads = [payload(item(price_minor=50 if row % 2 else 150)) for row in rows]
    store.upsert(Points(rows=rows, payloads=payloads, vectors={"text": (rows, vectors)}))
    yield store, ExactStore(columns, {"text": table}), columns
    store.close()


def test_every_plan_gives_the_same_answers_in_the_order_asked(
    shelves: tuple[EdgeStore, ExactStore, Columns],
) -> None:
    store, exact, columns = shelves
    allowed = Allowed(columns.mask(CHEAP), CHEAP)
    plans = [
        Plan(mode="scan"),
        Plan(mode="graph", oversampling=4),
        Plan(mode="scan"),
        Plan(mode="filtered"),
    ]
    searches = [
        Search(
            space="text",
            vectors=directions(3, DIM, seed=number),
            k=10,
            filters=CHEAP,
            allowed=allowed,
            plan=plan,
        )
        for number, plan in enumerate(plans)
    ]
    found = search_as_planned(store, exact, searches)
    for truth, answer in zip(exact.search(searches), found, strict=True):
        np.testing.assert_array_equal(truth.rows, answer.rows)
        np.testing.assert_allclose(truth.scores, answer.scores, atol=1e-5)


def test_an_answer_from_the_graph_that_falls_short_is_made_whole(
    shelves: tuple[EdgeStore, ExactStore, Columns],
) -> None:
    store, exact, columns = shelves
    vectors = directions(3, DIM, seed=5)
    vectors[1] = 0
    search = Search(
        space="text",
        vectors=vectors,
        k=100,
        filters=CHEAP,
        allowed=Allowed(columns.mask(CHEAP), CHEAP),
        plan=Plan(mode="graph", oversampling=1, rows=200),
    )
    assert (store.search([search])[0].rows[0] < 0).any()
    found = search_as_planned(store, exact, [search])[0]
    np.testing.assert_array_equal(found.rows, exact.search([search])[0].rows)
    assert (found.rows[[0, 2]] % 2 == 1).all()
    assert (found.rows[1] < 0).all()
    assert rows_of(1).dtype == found.rows.dtype
