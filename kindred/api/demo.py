"""Everything once, on real data: import → train → index → evaluate; what is fresh is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from kindred import __version__
from kindred.api import learning
from kindred.api.material import catalogue_of, fingerprints
from kindred.api.settings_text import write_settings
from kindred.api.wiring import build, current_models, evaluate_next_item, index_is_fresh, train
from kindred.events.lake import Lake
from kindred.indexer.behaviour import stages as behaviour
from kindred.indexer.columns import Columns
from kindred.indexer.importing import import_events, import_items
from kindred.indexer.models import ModelStore
from kindred.indexer.readers.complete_journey import (
    ADS_SIMULATED,
    JourneyRecords,
    complete_journey,
)
from kindred.indexer.stages import SERVES
from kindred.indexer.versions import COLUMNS, IndexFolder
from kindred.rerank import stages as ranking
from kindred.schemas.errors import InputError
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

SPLIT = "-28d"
"""The evaluation trains on all but the last four weeks."""
KS = (10, 20)
QUERIES = 10_000


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the demo's table."""

    step: str
    produced: str
    seconds: float
    fresh: bool = False
    """Whether an earlier run's result was kept."""


@dataclass(frozen=True, slots=True)
class Making:
    """How one step is made, and told to be stale."""

    name: str
    make: Callable[[], str]
    """Does it; what it produced, in words"""
    inputs: Callable[[], str]
    """What it is made from"""
    holds: Callable[[str], bool]
    """Whether what an earlier run of this step made is still there"""


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps that leave a mark of what they were made from, in `file`."""

    file: Path

    def run(self, steps: Sequence[Making], on_step: Callable[[Step], None]) -> list[Step]:
        """Make what is stale, in order, telling each step as it ends."""
        done = []
        for making in steps:
            began = time.perf_counter()
            mark, kept = making.inputs(), self._marks().get(making.name)
            fresh = kept is not None and kept["inputs"] == mark and making.holds(making.name)
            produced = kept["produced"] if fresh and kept else making.make()
            if not fresh:
                self._keep(making.name, making.inputs(), produced)
            seconds = round(time.perf_counter() - began, 1)
            step = Step(step=making.name, produced=produced, seconds=seconds, fresh=fresh)
            on_step(step)
            done.append(step)
        return done

    def _marks(self) -> dict[str, Any]:
        if not self.file.is_file():
            return {}
        marks: dict[str, Any] = msgspec.json.decode(self.file.read_bytes())
        return marks

    def _keep(self, step: str, inputs: str, produced: str) -> None:
        marks = {**self._marks(), step: {"inputs": inputs, "produced": produced}}
        aside = self.file.with_suffix(".aside")
        aside.write_bytes(msgspec.json.format(msgspec.json.encode(marks), indent=2))
        aside.replace(self.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The steps over one workspace; each leaves a mark of what it was made from."""

    workspace: Workspace
    settings: KindredSettings
    products: int | None
    progress: Progress

    def run(self, on_step: Callable[[Step], None]) -> list[Step]:
        """Run what is stale, in order, telling each step as it ends."""
        return Steps(self.workspace.root / "demo.json").run(
            [
                Making("import items", self._import_items, self._data, self._holds),
                Making("import events", self._import_events, self._data, self._holds),
                Making("train", self._train, self._training_inputs, self._holds),
                Making("index", self._index, self._index_inputs, self._holds),
                Making("evaluate", self._evaluate, self._training_inputs, self._holds),
            ],
            on_step,
        )

    def _import_items(self) -> str:
        source = JourneyRecords(complete_journey(self.products), "items")
        with catalogue_of(self.workspace) as catalogue:
            import_items(
                [source], catalogue, self.workspace.rejects, self.settings.imports, self.progress
            )
            return f"{catalogue.count:,} items in the catalogue"

    def _import_events(self) -> str:
        source = JourneyRecords(complete_journey(self.products), "events")
        lake = Lake(self.workspace.lake)
        with catalogue_of(self.workspace) as catalogue:
            import_events(
                [source], lake, self.workspace.rejects, self.settings.imports, self.progress,
                catalogue=catalogue,
            )  # fmt: skip
        return f"{lake.count():,} purchases in the lake"

    def _train(self) -> str:
        rows = train(self.workspace, self.settings, self.progress)
        passed = [row.stage for row in rows if row.state in SERVES]
        ranker = next(row for row in rows if row.stage == "ranker")
        return f"{len(passed)} of {len(rows)} stages serve; ranker: {ranker.summary}"

    def _index(self) -> str:
        manifest = build(self.workspace, self.settings, self.progress)
        spaces = ", ".join(f"{name} {space.dim}-d" for name, space in manifest.spaces.items())
        return f"{manifest.active:,} items in {spaces}"

    def _evaluate(self) -> str:
        report = evaluate_next_item(
            self.workspace, self.settings, self.progress,
            until=SPLIT, ks=KS, queries=QUERIES, repeats=None,
        )  # fmt: skip
        path = learning.evaluation_file(self.workspace)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
        best = report["differences"]["best simple baseline"]
        served = report["served"]
        return (
            f"HR@10 {report['methods'][served]['HR@10'][0]:.4f} {served}, {best['HR@10'][0]:+.4f} "
            f"[{best['HR@10'][1]:+.4f}, {best['HR@10'][2]:+.4f}] over {best['method']}"
        )

    def _holds(self, step: str) -> bool:
        """Whether what the mark speaks of is still there."""
        if step == "index":
            return index_is_fresh(self.workspace, self.settings)
        if step == "evaluate":
            return learning.evaluation_file(self.workspace).is_file()
        if step == "train":
            return "pairs" in current_models(self.workspace)
        if step == "import events":
            return any(self.workspace.lake.rglob("*.parquet"))
        return self.workspace.catalogue.is_file()

    def _data(self) -> str:
        return f"complete-journey 0.1.0, {self.products or 'all'} products"

    def _training_inputs(self) -> str:
        """Not the catalogue's sequence: a listing put by hand is no reason to train again."""
        with catalogue_of(self.workspace) as catalogue:
            inputs = fingerprints(self.workspace, self.settings, catalogue)
        inputs["catalogue"] = self._data()
        plain = msgspec.to_builtins(self.settings)
        read = {
            n: plain[n] for n in ("seed", "encoders", "signals", "als", "pairs", "recall", "ranker")
        }
        codes = [behaviour.CODE, ranking.CODE, __version__]
        content = msgspec.json.encode([inputs, read, codes], order="sorted")
        return blake2b(content, digest_size=16).hexdigest()

    def _index_inputs(self) -> str:
        return f"{self._training_inputs()} {current_models(self.workspace)}"


def prepare(workspace: Workspace) -> None:
    """A workspace whose answers say that its ad rates are simulated."""
    if workspace.catalogue.is_file() and not (workspace.root / "demo.json").is_file():
        raise InputError(
            f"{workspace.root} holds a catalogue that is not the demo's: name another folder with "
            "`kindred --workspace FOLDER demo`",
            "$.workspace",
        )
    workspace.root.mkdir(parents=True, exist_ok=True)
    if not (workspace.root / "demo.json").is_file():
        (workspace.root / "demo.json").write_text("{}")
    if workspace.settings.is_file():
        return
    write_settings(workspace.settings)
    text = workspace.settings.read_text()
    note = msgspec.json.encode([ADS_SIMULATED]).decode()
    workspace.settings.write_text(text.replace("#notes = []", f"notes = {note}", 1))


def requests(workspace: Workspace, url: str) -> list[tuple[str, str]]:
    """Four requests on popular items of the demo: (what it asks, a curl line)."""
    manifest = IndexFolder(workspace.index).manifest()
    columns = Columns.load(workspace.index / manifest.version / COLUMNS)
    history = ModelStore(workspace.models).load("history")
    rows = [row for row in history.arrays["by_popularity"][:200] if columns.active[row]]
    first, second, third = (columns.item_ids[row] for row in (rows[0], rows[4], rows[9]))

    def post(path: str, body: dict[str, Any]) -> str:
        text = msgspec.json.encode(body).decode()
        return f"curl -s {url}{path} -H 'content-type: application/json' -d '{text}'"

    category = category_of(columns, rows[0])
    item = {
        "item_id": "demo-1", "title": f"{category[-1].capitalize()}, organic, 2 pounds",
        "price_minor": 399, "currency": "USD", "category": list(category),
    }  # fmt: skip
    session = [{"item_id": second}, {"item_id": third, "action": "add_to_cart"}]
    put = msgspec.json.encode({"items": [item]}).decode()
    return [
        ("what goes with this item (the view-item widget)",
         post("/v1/similar", {"item_id": first, "k": 6})),
        ("what fits this session (the search team)",
         post("/v1/session/recall", {"actions": session, "n": 5})),
        ("why is this beside that (merchandisers)",
         f"curl -s '{url}/v1/items/{first}/neighbors?space=text&k=5&explain=true'"),
        ("a new listing, found two seconds later (the catalogue)",
         f"curl -s -X PUT {url}/v1/items -H 'content-type: application/json' -d '{put}'"),
    ]  # fmt: skip


def category_of(columns: Columns, row: int) -> tuple[str, ...]:
    """The category path of a row."""
    depth = int(columns.category_depth[row])
    if not depth:
        return ()
    code = int(columns.category[row, depth - 1])
    return tuple(columns.vocabularies["category"].name(code).split("\x1f"))
