"""`kindred evaluate representations`, assembled: split, train, ask, for several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl

from kindred.api.material import Material, read_material, row_of
from kindred.api.times import parse_moment, readable
from kindred.experiments.looks import FEWEST, evaluate_looks
from kindred.experiments.representations.ablations import (
    Tried,
    ablation_verdicts,
    try_otherwise,
)
from kindred.experiments.representations.methods import (
    ask_everything,
    ask_relation,
    asker,
    funnel_of_split,
)
from kindred.experiments.representations.relations import (
    Found,
    Judged,
    judged_lists,
    relation_tables,
)
from kindred.experiments.representations.report import Asked, tables, verdicts
from kindred.experiments.representations.split import HELD_OUT, Split, make_split
from kindred.experiments.representations.training import LOSSES, VARIANTS, Trained, learn
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.models import ModelStore
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import InputError
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

Part = Literal["test", "development"]
SUFFIX: dict[Part, str] = {"test": "_seen", "development": "_tried"}


def evaluate_representations(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    until: str,
    seeds: int,
    queries: int,
    part: Part = "test",
    ablations: bool = False,
) -> dict[str, Any]:
    """The report as plain data. `development` asks the same of the events before `until` alone."""
    material = read_material(workspace, settings, progress)
    log = material.log.counted(settings.signals)
    if not len(log):
        return _of_pictures_alone(material, settings, progress, seeds, part)
    moment = parse_moment(until, log.ts)
    if part == "development":
        log = log.before(moment)
        moment = parse_moment(until, log.ts)
    store = ModelStore(workspace.models)
    drawn = [settings.seed + n for n in range(seeds)]
    asked, stages, splits = [], [], []
    chosen: dict[str, Any] = {}
    lists = _lists(workspace, material)
    relations: dict[str, list[Found]] = {}
    tried: list[Tried] = []
    for seed in drawn:
        split = _split(material, log, moment, seed=seed, queries=queries)
        suffix = f"{SUFFIX[part]}{seed}"
        trained = learn(
            material.content, split, material.inputs, settings, store,
            seed=seed, suffix=suffix, progress=progress, clock=micros_now,
            variants={**VARIANTS, **LOSSES} if ablations else VARIANTS,
        )  # fmt: skip
        funnel = funnel_of_split(material.content, trained, settings, suffix)
        answered, facts = ask_everything(
            material.content, split, trained, funnel, settings, seed=seed, progress=progress,
            chosen=chosen or None,
        )  # fmt: skip
        asked.append(Asked(split.questions.subject, split.cold, answered))
        if ablations:
            queries_asked = asker(funnel, settings)(split.questions)
            active = material.columns.active[: material.columns.size]
            tried.append(try_otherwise(split, trained, queries_asked, active, settings, seed))
        for judged in lists:
            found = ask_relation(
                judged, material.content, split, trained, funnel, settings, seed=seed,
                progress=progress,
            )  # fmt: skip
            relations.setdefault(judged.relation, []).append(found)
        stages += _stage_facts(trained, seed)
        chosen = facts
        splits.append(_split_facts(split, seed))
    items = int(material.columns.active.sum())
    return {
        "suite": "representations",
        "notes": list(settings.notes),
        "part": part,
        "train_until": readable(moment),
        "seeds": drawn,
        "items": items,
        "events": len(log),
        "training_events": len(log.before(moment)),
        "inputs": material.inputs,
        "splits": splits,
        "chosen": chosen,
        "stages": stages,
        "settings": msgspec.to_builtins(settings.representations),
        "slices": tables(asked, items, settings.seed),
        "verdicts": verdicts(asked, settings.seed),
        "ablations": ablation_verdicts(tried, settings.seed) if tried else [],
        "looks": _looks(material, settings, progress, drawn) if part == "test" else None,
        "relations": relation_tables(relations, settings.seed),
    }


def _of_pictures_alone(
    material: Material, settings: KindredSettings, progress: Progress, seeds: int, part: Part
) -> dict[str, Any]:
    """The report of a catalogue that nobody has acted on: what its pictures tell."""
    drawn = [settings.seed + n for n in range(seeds)]
    looks = _looks(material, settings, progress, drawn)
    if looks is None:
        raise InputError(
            "there are no events to ask about, and too few pictures: `kindred import events` "
            "brings some", "$",
        )  # fmt: skip
    return {
        "suite": "representations", "notes": list(settings.notes), "part": part,
        "seeds": drawn, "items": int(material.columns.active.sum()), "events": 0,
        "inputs": material.inputs, "stages": [], "slices": {}, "verdicts": [],
        "ablations": [], "relations": {}, "looks": looks,
    }  # fmt: skip


def _looks(
    material: Material, settings: KindredSettings, progress: Progress, seeds: Sequence[int]
) -> dict[str, Any] | None:
    """Whether neighbours by picture look alike, where enough items have one."""
    if sum(map(bool, material.content.images)) < FEWEST:
        return None
    return evaluate_looks(material.content, settings, progress, seeds=seeds)


def _lists(workspace: Workspace, material: Material) -> list[Judged]:
    """Judged relations, where an import kept some."""
    if not workspace.relations.is_file():
        return []
    columns = material.columns
    return judged_lists(
        pl.read_parquet(workspace.relations), row_of(columns), columns.active[: columns.size]
    )


def _split(material: Material, log: Interactions, moment: int, *, seed: int, queries: int) -> Split:
    active = material.columns.active[: material.columns.size]
    split = make_split(log, active, moment, seed=seed, questions=queries, held_out=HELD_OUT)
    if not len(split.questions):
        raise InputError(
            f"nothing after {readable(moment)} has something before it: move the split",
            "$.train_until",
        )
    return split


def _split_facts(split: Split, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "asking": split.asking,
        "held out items": int(split.held_out.sum()),
        "questions": len(split.questions),
        "cold": int(split.cold.sum()),
        "cold and held out": int(split.held_out[split.questions.followed].sum()),
        "visitors": len(np.unique(split.questions.subject)),
        "training events": len(split.log),
        "median seeds": float(np.median(np.diff(split.questions.offsets))),
    }


def _stage_facts(trained: Trained, seed: int) -> list[dict[str, Any]]:
    rows: Sequence[Any] = trained.rows
    return [
        {
            "seed": seed,
            "stage": row.stage,
            "version": row.version,
            "state": row.state,
            "seconds": row.seconds,
            "gate": row.gate,
            "summary": row.summary,
        }
        for row in rows
    ]
