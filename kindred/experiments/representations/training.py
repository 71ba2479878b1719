"""Everything that answers, trained on one split, kept like any other version and never served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import msgspec

from kindred.experiments.representations.split import Split
from kindred.indexer.behaviour.stages import NAMES, SIGNALS, behaviour_stages
from kindred.indexer.content import Content
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.representations import (
    RECIPES,
    SPACES,
    Given,
    full_name,
    representation_stages,
)
from kindred.indexer.stage_run import run_stages
from kindred.indexer.stages import Stage, StageRow, in_order
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.corpus import table_of
from kindred.rerank.merge_stage import MERGE, Market, merge_stages, read_by_recall
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings, TowerSettings

Altered = Callable[[TowerSettings], TowerSettings]


def linear(tower: TowerSettings) -> TowerSettings:
    """All inputs side by side, one matrix, no gate (SPEC F13)."""
    return msgspec.structs.replace(tower, gate="none", hidden=())


def triplets(tower: TowerSettings) -> TowerSettings:
    """Triplet loss in place of the softmax."""
    return msgspec.structs.replace(tower, loss="triplet")


def uncorrected(tower: TowerSettings) -> TowerSettings:
    """Softmax without the correction for frequent items."""
    return msgspec.structs.replace(tower, popularity=0.0)


@dataclass(frozen=True, slots=True)
class Variant:
    """The same tower under other settings, as a control."""

    stage: str
    altered: Altered


LINEAR = "linear concat (trained)"
VARIANTS: Mapping[str, Variant] = {LINEAR: Variant("hybrid", linear)}
"""Controls of the main table."""
TRIPLETS, UNCORRECTED = "air, triplets", "air, no correction"
LOSSES: Mapping[str, Variant] = {
    TRIPLETS: Variant("air", triplets),
    UNCORRECTED: Variant("air", uncorrected),
}
"""Controls of AIR's loss (SPEC §6.1, B6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one split's training gave."""

    rows: list[StageRow]
    artefacts: dict[str, Artefact]
    """By plain name"""
    variants: dict[str, Artefact]

    def spaces(self) -> dict[str, VectorTable]:
        """Vectors of every stage that gives items any, passed or not, by stage."""
        names = [n for n in ("als", *SPACES) if n in self.artefacts]
        tables = {n: vectors_of(self.artefacts[n]) for n in names}
        return {name: table for name, table in tables.items() if table is not None}

    def variant_spaces(self) -> dict[str, VectorTable]:
        """The same of the variants."""
        tables = {name: vectors_of(made) for name, made in self.variants.items()}
        return {name: table for name, table in tables.items() if table is not None}

    def passed(self, stage: str) -> bool:
        """Whether it may serve."""
        return stage in self.artefacts and self.artefacts[stage].card.gate.passed


def vectors_of(artefact: Artefact) -> VectorTable | None:
    """Items' vectors; None where the stage gave none."""
    arrays = artefact.arrays
    if "unit" not in arrays or "present" not in arrays or not arrays["present"].any():
        return None
    return table_of(arrays)


def learn(
    content: Content,
    split: Split,
    inputs: Mapping[str, str],
    settings: KindredSettings,
    store: ModelStore,
    *,
    seed: int,
    suffix: str,
    progress: Progress,
    clock: Callable[[], int],
    variants: Mapping[str, Variant] = VARIANTS,
) -> Trained:
    """Train on `split.log` with `seed`; what is kept from an earlier run is not trained again.

    What is learned from content alone is the served one's: it knows nothing of behaviour.
    """
    names = tuple(n for n in RECIPES if find_spec(RECIPES[n].module) is not None)
    from_content = tuple(n for n in names if not RECIPES[n].reads_log)
    told = {**inputs, "events": f"{inputs.get('events', '')}-{split.digest}-{seed}"}

    def stages(chosen: KindredSettings, only: tuple[str, ...]) -> list[Stage]:
        given = Given(
            content=content, log=split.log, until=split.moment, settings=chosen,
            threads=chosen.representations.threads,
        )  # fmt: skip
        return representation_stages(given, told, suffix=suffix, only=only)

    def run(listed: Sequence[Stage], only: Sequence[str] = ()) -> list[StageRow]:
        return run_stages(
            listed, store, seed=settings.seed, progress=progress, clock=clock, only=only, anew=True
        )

    run(stages(settings, from_content))
    own = msgspec.structs.replace(settings, seed=seed)
    behaviour = behaviour_stages(
        split.log, content.columns.size, split.moment, own, told, suffix=suffix
    )
    controls = {}
    for name, variant in variants.items():
        if variant.stage not in names or variant.stage not in own.representations.stages:
            continue
        listed = in_order([*behaviour, *stages(with_tower(own, variant), names)])
        row = run(listed, [variant.stage + suffix])[-1]
        controls[name] = store.load(row.stage, row.version)
    modules = stages(own, names)
    market = Market(
        log=split.log, columns=content.columns, tables=content.tables, until=split.moment,
        settings=own,
    )  # fmt: skip
    read = read_by_recall([*behaviour, *modules], suffix)
    rows = run(in_order([*behaviour, *modules, *merge_stages(market, told, read, suffix=suffix)]))
    by_name = {row.stage: row for row in rows}
    plain = {
        n: by_name[full_name(n, suffix)]
        for n in (SIGNALS, *NAMES, *names, MERGE)
        if full_name(n, suffix) in by_name
    }
    return Trained(
        rows=rows,
        artefacts={n: store.load(row.stage, row.version) for n, row in plain.items()},
        variants=controls,
    )


def with_tower(settings: KindredSettings, variant: Variant) -> KindredSettings:
    """Settings in which one tower is altered."""
    chosen = settings.representations
    tower: TowerSettings = getattr(chosen, variant.stage)
    altered = msgspec.structs.replace(chosen, **{variant.stage: variant.altered(tower)})
    return msgspec.structs.replace(settings, representations=altered)
