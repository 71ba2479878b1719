"""Recall@100 and latency of filtered searches, by kind and selectivity of the filter.

    python benchmarks/filtered_recall.py --points 100000 --json OUT.json
    python benchmarks/filtered_recall.py --points 1000000 --folder KEEP --json OUT.json

Every question goes the way a request's does: the filter is evaluated (each is new, so nothing is
cached), a plan is chosen, and the plan is carried out by the real engine or by the exact scan, in
one thread. Half of the filters fit the item that the question is about and half fit another item.
Beside it, under "engine", stands the engine's own filtered search for the same questions.

The index is built in another process, as always. With --folder it is kept and used again.
"""

from __future__ import annotations

import os

# One thread, as a serving process has it; BLAS reads this when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import multiprocessing
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from clustered import Asker, Market

from kindred.indexer.columns import Columns
from kindred.indexer.store.edge import EdgeStore
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.payload import payload
from kindred.indexer.store.port import Found, Points, Search
from kindred.indexer.store.tables import VectorTable
from kindred.retrieval.plan import FilterPlanner, search_as_planned
from kindred.schemas.query import Filters
from kindred.schemas.settings import PlanSettings, StoreSettings

SPACE = "als"
DIM = 100
SHARES = (0.001, 0.01, 0.1, 1.0)
KINDS = ("none", "category", "price", "place follows vector", "place independent of vector")
AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Measured:
    """How the questions of one line were answered."""

    recall: float
    """Mean recall@k against exact search"""
    worst: float
    ms_p50: float
    ms_p95: float
    cpu_ms_p95: float
    """Of the processor's time, which other work on the machine does not lengthen"""

    def __str__(self) -> str:
        times = f"{self.ms_p50:8.2f} {self.ms_p95:8.2f} {self.cpu_ms_p95:8.2f}"
        return f"{self.recall:.4f} {self.worst:6.2f} {times}"


class Watch:
    """Times questions and keeps how well they were answered."""

    def __init__(self) -> None:
        self.recalls: list[float] = []
        self.seconds: list[tuple[float, float]] = []

    def ask(self, question: Callable[[], Found]) -> Found:
        """Ask, and note what it took."""
        began = (time.perf_counter(), time.process_time())
        found = question()
        self.seconds.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        return found

    def measured(self) -> Measured | None:
        """The summary; None where nothing was asked."""
        if not self.recalls:
            return None
        wall, cpu = 1000 * np.array(self.seconds).T
        p50, p95 = np.quantile(wall, [0.5, 0.95]).tolist()
        mean, worst = float(np.mean(self.recalls)), min(self.recalls)
        return Measured(mean, worst, p50, p95, float(np.quantile(cpu, 0.95)))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    kind: str
    share: float
    """Share of the items that pass, as found"""
    plans: dict[str, int]
    """How many questions each plan answered"""
    planned: Measured
    engine: Measured | None
    """The engine's own filtered search; None where it knows another place"""

    def __str__(self) -> str:
        plans = "+".join(sorted(self.plans))
        return f"{self.kind:28} {self.share:9.4%} {plans:14} {self.planned} | {self.engine or ''}"


def build(folder: str, points: int, dim: int, seed: int, settings: StoreSettings) -> None:
    """Draw the market and write shard, table and both columns; runs in a process of its own."""
    root, market = Path(folder), Market.draw(points, dim, seed)
    columns, table = Columns(points), VectorTable(dim, points)
    store = EdgeStore.create(root / "shard", {SPACE: dim}, settings)
    began = time.monotonic()
    for start in range(0, points, AT_ONCE):
        end = min(start + AT_ONCE, points)
        rows, items = np.arange(start, end), market.items(start, end, market.independent)
        vectors = market.vectors[start:end]
        columns.apply(rows, items)
        table.set(rows, vectors)
        named = {SPACE: (np.arange(end - start), vectors)}
        payloads = [payload(item) for item in items]
        store.upsert(Points(rows=rows, payloads=payloads, vectors=named))
        print(f"  written {end:,} of {points:,}", file=sys.stderr, flush=True)
    written = time.monotonic()
    print("  building the graph", file=sys.stderr, flush=True)
    store.optimize()
    built = time.monotonic()
    store.close()
    table.save(root / "vectors")
    columns.save(root / "independent")
    for start in range(0, points, AT_ONCE):
        end = min(start + AT_ONCE, points)
        columns.apply(np.arange(start, end), market.items(start, end, market.following))
    columns.save(root / "following")
    facts = {"write_s": written - began, "graph_s": built - written, "settings": settings}
    (root / "built.json").write_bytes(msgspec.json.encode(facts))


def built(folder: Path, points: int, seed: int, settings: StoreSettings, limit_s: float) -> None:
    """Build in another process unless it is there; TimeoutError past the limit."""
    if (folder / "built.json").exists():
        return
    process = multiprocessing.get_context("spawn").Process(
        target=build, args=(str(folder), points, DIM, seed, settings)
    )
    began = time.monotonic()
    process.start()
    while process.is_alive():
        process.join(30)
        spent = time.monotonic() - began
        print(f"  {spent:,.0f} s", file=sys.stderr, flush=True)
        if spent > limit_s:
            process.kill()
            raise TimeoutError(f"the build took more than {limit_s:,.0f} s")
    if process.exitcode:
        raise RuntimeError(f"the build ended with {process.exitcode}")


def recall(found: Found, truth: Found) -> float:
    """Share of one question's exact answer that was found."""
    wanted = truth.rows[0][truth.rows[0] >= 0]
    return float(np.isin(wanted, found.rows[0]).mean()) if len(wanted) else 1.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What is searched."""

    store: EdgeStore
    exact: ExactStore
    table: VectorTable
    columns: Columns
    knows_places: bool
    """Whether the store's places are the columns'."""


def measure(
    folder: Path, asker: Asker, k: int, store_settings: StoreSettings, plan_settings: PlanSettings
) -> Iterator[Line]:
    """The table's lines, as they come."""
    store = EdgeStore.open(folder / "shard", store_settings)
    table = VectorTable.load(folder / "vectors")
    columns = {name: Columns.load(folder / name) for name in ("independent", "following")}
    # A process that has served for a while has read its files.
    warm = Search(space=SPACE, vectors=asker.vectors, k=k)
    store.search([warm])
    ExactStore(columns["independent"], {SPACE: table}).search([warm])
    for kind in KINDS:
        place = "following" if kind == "place follows vector" else "independent"
        exact = ExactStore(columns[place], {SPACE: table})
        ground = Ground(store, exact, table, columns[place], place == "independent")
        for share in (1.0,) if kind == "none" else SHARES:
            planner = FilterPlanner(columns[place], plan_settings, store_settings.ef)
            planner.allowed(Filters())
            yield answer(asker, kind, share, k, ground, planner)
    store.close()


def planned(search: Search, ground: Ground, planner: FilterPlanner) -> Search:
    """The search with its filter evaluated and a plan chosen."""
    assert search.filters is not None
    allowed = planner.allowed(search.filters)
    return replace(search, allowed=allowed, plan=planner.plan(allowed, search.k, ground.table))


def as_planned(search: Search, ground: Ground, planner: FilterPlanner) -> Found:
    """What a request gets."""
    return search_as_planned(ground.store, ground.exact, [planned(search, ground, planner)])[0]


def by_engine(search: Search, ground: Ground) -> Found:
    """What the engine's own filtered search gives."""
    return ground.store.search([search])[0]


def answer(
    asker: Asker, kind: str, share: float, k: int, ground: Ground, planner: FilterPlanner
) -> Line:
    """Ask all questions of one kind and selectivity."""
    ours, engine = Watch(), Watch()
    shares, plans = [], dict[str, int]()
    for vector, filters in zip(asker.vectors, asker.filters(kind, share), strict=True):
        bare = Search(space=SPACE, vectors=vector[None], k=k, filters=filters)
        found = ours.ask(partial(as_planned, bare, ground, planner))
        # The planner remembers the filter now, and so it plans the same again for nothing.
        search = planned(bare, ground, planner)
        truth = ground.exact.search([search])[0]
        ours.recalls.append(recall(found, truth))
        shares.append(search.plan.estimate)
        plans[search.plan.mode] = plans.get(search.plan.mode, 0) + 1
        if ground.knows_places:
            alone = replace(bare, filters=None) if kind == "none" else bare
            found = engine.ask(partial(by_engine, alone, ground))
            engine.recalls.append(recall(found, truth))
    summary = ours.measured()
    assert summary is not None
    return Line(kind, float(np.mean(shares)), plans, summary, engine.measured())


def main() -> None:
    """Build, ask, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep the built index here")
    parser.add_argument("--build-limit-s", type=float, default=7200)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    store_settings, plan_settings = StoreSettings(), PlanSettings()
    with tempfile.TemporaryDirectory() as aside:
        folder = args.folder or Path(aside)
        folder.mkdir(parents=True, exist_ok=True)
        built(folder, args.points, args.seed, store_settings, args.build_limit_s)
        asker = Asker(Market.draw(args.points, DIM, args.seed), args.questions, args.seed + 1)
        print(f"{'':54}planned: recall, worst, ms p50, p95, CPU p95       | engine's own filter")
        lines = []
        for line in measure(folder, asker, args.k, store_settings, plan_settings):
            print(line, flush=True)
            lines.append(line)
        build_facts = msgspec.json.decode((folder / "built.json").read_bytes())
    if args.json:
        facts = {
            "points": args.points,
            "dim": DIM,
            "k": args.k,
            "questions": args.questions,
            "build": build_facts,
            "load_average": os.getloadavg()[0],
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": {n: version(n) for n in ("qdrant-edge-py", "numpy")},
            "settings": {"ef": store_settings.ef, "plan": plan_settings},
            "lines": [asdict(line) for line in lines],
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")


if __name__ == "__main__":
    main()
