"""What a simulated market is made of, and the workspace that holds one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from kindred.api.settings_file import load_settings
from kindred.api.settings_text import write_settings
from kindred.events.decisions import all_decisions
from kindred.events.history import all_events
from kindred.experiments.marketsim.behaviour import Appeal
from kindred.experiments.marketsim.behaviour_knobs import BehaviourKnobs
from kindred.experiments.marketsim.clock import Shelf
from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.visitors import Visitors, make_visitors
from kindred.experiments.marketsim.world import World, make_world
from kindred.indexer.catalogue import Catalogue
from kindred.schemas.clock import DAY
from kindred.schemas.errors import InputError
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

SIMULATED = "Simulated: items, visitors and everything that they do."
HISTORY_SHARE = 0.4
"""Share of the days before there is anything to recommend with."""
MARK = "market.json"


class MarketPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one market is made of. Equal plans give equal markets."""

    impressions: int
    items: int
    visitors: int
    start: int
    """µs: the first simulated moment"""
    days: float = 14.0
    """Simulated days, the history included; more where too few visit"""
    history_visits: int = 6
    """Visits of each visitor, on average, before there is anything to recommend with"""
    k: int = 24
    """Items shown"""
    explore: float = 0.1
    """Share of lists in random order"""
    logged: int = 0
    """Candidates kept of each decision; those shown at least"""
    pictures: int = 0
    """Items with a picture: of the first so many, the share that has one"""
    learn: bool = False
    """Whether the second half is answered with what was learned from the first"""
    seed: int = 7
    catalogue: MarketKnobs = MarketKnobs()
    """Knobs of the world; `items` and `days` are those above"""
    behaviour: BehaviourKnobs = BehaviourKnobs()

    @classmethod
    def of(
        cls, impressions: int, items: int | None, visitors: int | None, **rest: object
    ) -> MarketPlan:
        """Items and visitors follow the impressions unless given: a hundred views of each item,
        and some 200 items shown to each visitor."""
        return msgspec.convert(
            {
                "impressions": impressions,
                "items": items or min(max(impressions // 100, 1_000), 20_000),
                "visitors": visitors or min(max(impressions // 200, 100), 100_000),
                **rest,
            },
            cls,
        )

    @property
    def opens(self) -> int:
        """µs: when the funnel begins to answer."""
        return self.start + round(HISTORY_SHARE * self.days * DAY)

    @property
    def ends(self) -> int:
        """µs"""
        return self.start + round(self.days * DAY)


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """A world with its visitors."""

    plan: MarketPlan
    world: World
    visitors: Visitors
    appeal: Appeal
    shelf: Shelf

    @classmethod
    def make(cls, plan: MarketPlan) -> Market:
        """The market of a plan."""
        knobs = plan.behaviour
        catalogue = msgspec.structs.replace(plan.catalogue, items=plan.items, days=plan.days)
        world = make_world(catalogue, plan.seed, plan.start)
        visitors = make_visitors(world, knobs.visitors, plan.visitors, stream(plan, 1))
        appeal = Appeal.of(world, visitors, knobs, stream(plan, 2))
        return cls(plan, world, visitors, appeal, Shelf(world))


def stream(plan: MarketPlan, part: int) -> np.random.Generator:
    """A generator of its own for each part of the simulation."""
    return np.random.default_rng([plan.seed, 1000 + part])


class Knobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file of knobs may hold."""

    catalogue: MarketKnobs = MarketKnobs()
    behaviour: BehaviourKnobs = BehaviourKnobs()


def read_knobs(path: Path) -> Knobs:
    """Knobs of a TOML file with the tables `catalogue` and `behaviour.visitors`, `.attraction`,
    `.actions`; what it leaves out keeps its default. InputError where it is wrong."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Knobs)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{path}: {error}", "$.knobs") from error


def prepare(workspace: Workspace, plan: MarketPlan, *, text: bool) -> None:
    """A workspace for this market alone; its answers say that they are simulated.

    InputError where the folder holds something else.
    """
    mark = workspace.root / MARK
    if mark.is_file():
        if held_plan(workspace) != plan:
            raise InputError(
                f"{workspace.root} holds a market of another plan: name another folder with "
                "`kindred --workspace FOLDER`, or the same options",
                "$.workspace",
            )
    elif holds_rows(workspace):
        raise InputError(
            f"{workspace.root} holds items or events that are not simulated: name another folder "
            "with `kindred --workspace FOLDER`",
            "$.workspace",
        )
    workspace.root.mkdir(parents=True, exist_ok=True)
    mark.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=2))
    if workspace.settings.is_file():
        _add_note(workspace.settings)
    else:
        spaces = ["attributes", *(["text"] if text else []), *(["image"] if plan.pictures else [])]
        write_settings(workspace.settings)
        written = workspace.settings.read_text()
        named = msgspec.json.encode(spaces).decode()
        written = written.replace(
            '#spaces = ["text", "image", "attributes"]', f"spaces = {named}", 1
        )
        roots = msgspec.json.encode([str(pictures_of(workspace).resolve())]).decode()
        written = written.replace("#roots = []", f"roots = {roots}", 1)
        written = written.replace("#explore = 0.0", f"explore = {plan.explore}", 1)
        workspace.settings.write_text(written)
        _add_note(workspace.settings)


def holds_rows(workspace: Workspace) -> bool:
    """Whether there is an item, an event or a decision; commands leave empty files behind."""
    if workspace.catalogue.is_file():
        catalogue = Catalogue.open(workspace.catalogue)
        try:
            if catalogue.count:
                return True
        finally:
            catalogue.close()
    tables = (
        all_events(workspace.lake, workspace.log),
        all_decisions(workspace.lake, workspace.decisions),
    )
    return any(table.select(pl.len()).collect().item() > 0 for table in tables)


def _add_note(settings: Path) -> None:
    """Say in the settings that all is simulated, unless they say it or have notes of their own."""
    note = msgspec.json.encode([SIMULATED]).decode()
    written = settings.read_text()
    settings.write_text(written.replace("#notes = []", f"notes = {note}", 1))


def pictures_of(workspace: Workspace) -> Path:
    """The folder of drawn pictures."""
    return workspace.root / "pictures"


def held_plan(workspace: Workspace) -> MarketPlan:
    """The plan of the workspace's market; InputError where it holds none."""
    mark = workspace.root / MARK
    if not mark.is_file():
        raise InputError(f"{workspace.root} holds no simulated market", "$.workspace")
    try:
        return msgspec.json.decode(mark.read_bytes(), type=MarketPlan)
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{mark} is no plan of this version ({error}): name another folder with "
            "`kindred --workspace FOLDER`",
            "$.workspace",
        ) from error


def settings_of(workspace: Workspace, environment: Mapping[str, str]) -> KindredSettings:
    """The workspace's settings, with the note that all of it is simulated."""
    settings = load_settings(workspace.settings, environment)
    if SIMULATED in settings.notes:
        return settings
    return msgspec.structs.replace(settings, notes=(*settings.notes, SIMULATED))
