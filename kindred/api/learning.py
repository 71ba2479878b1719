"""Training and evaluation, assembled: catalogue and events in, versions and reports out.

What asks sessions after a moment about what was known before it is in `api.past`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kindred.api.joined import catalogue_rows, read_joined
from kindred.api.material import Material, catalogue_of, read_material
from kindred.api.times import parse_moment, readable
from kindred.experiments.shown_lists import compare_orders
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.stages import behaviour_stages
from kindred.indexer.columns import Columns
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.representations import RECIPES, Given, representation_stages
from kindred.indexer.stage_run import Watcher, run_stages
from kindred.indexer.stages import Stage, StageRow, in_order
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.artefact import from_artefact
from kindred.rerank.blend import with_usual_price
from kindred.rerank.corpus import corpus_of
from kindred.rerank.funnel import Funnel
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.merge_stage import MERGE, Market, merge_stages, read_by_recall
from kindred.rerank.merging import learned_weights
from kindred.rerank.stages import PAST, ranker_stages
from kindred.rerank.tree_walk import process_walk
from kindred.retrieval.sources import Corpus
from kindred.schemas.clock import DAY, micros_now
from kindred.schemas.errors import InputError, VersionMismatch
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


def all_stages(material: Material, until: int, settings: KindredSettings) -> list[Stage]:
    """Everything that serves: behaviour as of `until`, what is learned about items, the ranker."""
    joined, learned = material.joined, _learned(material, settings)
    serving = behaviour_stages(
        material.log, material.columns.size, until, settings, material.inputs,
        shown=joined.shown, shown_input=joined.inputs["joined"], shown_until=joined.until,
    )  # fmt: skip
    ranking = ranker_stages(
        material.log, material.columns, material.tables, until, settings, material.inputs,
        joined=joined, learned=learned, studies=material.studies,
    )  # fmt: skip
    modules = learned(until, "")
    merging = _merging(material, until, settings, [*serving, *modules])
    return in_order([*serving, *modules, *merging, *ranking])


def past_stages(material: Material, moment: int, settings: KindredSettings) -> list[Stage]:
    """What an evaluation at `moment` answers with; none of it ever serves.

    The stages of the past are those that a ranker with its window from `moment` on learns over, so
    that training and evaluation share them.
    """
    log, size, joined = material.log, material.columns.size, material.joined
    learned = _learned(material, settings)
    answering = behaviour_stages(
        log, size, moment, settings, material.inputs, suffix=PAST,
        shown=joined.shown, shown_input=joined.inputs["joined"], shown_until=joined.until,
    )  # fmt: skip
    ranking = ranker_stages(
        log, material.columns, material.tables, moment, settings, material.inputs,
        joined=joined, learned=learned, name="ranker_past", suffix="_before",
        studies=material.studies,
    )  # fmt: skip
    modules = learned(moment, PAST)
    merging = _merging(material, moment, settings, [*answering, *modules], PAST)
    return in_order([*answering, *modules, *merging, *ranking])


def _merging(
    material: Material,
    until: int,
    settings: KindredSettings,
    stages: Sequence[Stage],
    suffix: str = "",
) -> list[Stage]:
    """The merge over what recall reads of the stages of one moment."""
    market = Market(
        log=material.log, columns=material.columns, tables=material.tables, until=until,
        settings=settings,
    )  # fmt: skip
    return merge_stages(market, material.inputs, read_by_recall(stages, suffix), suffix=suffix)


def _learned(material: Material, settings: KindredSettings) -> Callable[[int, str], list[Stage]]:
    """What is learned about items, as of a moment, under a suffix."""

    def stages(until: int, suffix: str) -> list[Stage]:
        given = Given(
            content=material.content,
            log=material.log,
            until=until,
            settings=settings,
            threads=settings.representations.threads,
        )
        return representation_stages(given, material.inputs, suffix=suffix)

    return stages


def _of_content(material: Material, settings: KindredSettings) -> list[Stage]:
    """What nobody need have acted on."""
    given = Given(
        content=material.content, log=material.log, until=0, settings=settings,
        threads=settings.representations.threads,
    )  # fmt: skip
    content = tuple(name for name, recipe in RECIPES.items() if not recipe.reads_log)
    return representation_stages(given, material.inputs, only=content)


def train(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    until: str | None = None,
    only: Sequence[str] = (),
    anew: bool = False,
    watcher: Watcher | None = None,
) -> list[StageRow]:
    """Train what is stale into the workspace's models; see `run_stages` for `anew`, `watcher`.

    Without events that is what content alone teaches.
    """
    material = read_material(workspace, settings, progress)
    if len(material.log):
        warn_of_old_join(material)
        ending = max(end_of(material.log), material.joined.shown.newest + 1)
        moment = ending if until is None else parse_moment(until, material.log.ts)
        stages = all_stages(material, moment, settings)
    else:
        stages = _of_content(material, settings)
    return run_stages(
        stages,
        ModelStore(workspace.models),
        seed=settings.seed,
        progress=progress,
        clock=micros_now,
        only=only,
        anew=anew,
        watcher=watcher,
    )


def warn_of_old_join(material: Material) -> None:
    """Say it where something was shown, and the log goes on for a day after what is joined."""
    joined, ending = material.joined, end_of(material.log)
    if joined.shown.lists and ending - joined.until > DAY:
        structlog.get_logger("kindred").warning(
            "the ranker and the statistics of shown items know nothing after the last join: run "
            "`kindred join` before `kindred train`",
            joined_until=readable(joined.until),
            events_until=readable(ending),
        )


def end_of(log: Interactions) -> int:
    """The moment after the last action."""
    return int(log.ts[-1]) + 1 if len(log) else 0


def evaluate_shown_lists(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    until: str,
    ks: Sequence[int],
    seeds: int,
    lists: int,
) -> dict[str, Any]:
    """Train on lists shown before `until`, order those after it anew; the report as plain data."""
    with catalogue_of(workspace) as catalogue:
        rows = catalogue_rows(catalogue)
    size = 1 + int(rows["row"].to_numpy().max(initial=-1))
    joined = read_joined(workspace, rows)
    if not joined.shown.lists:
        raise InputError("nothing shown is joined with what came of it: run `kindred join`", "$")
    moment = parse_moment(until, joined.shown.at)
    drawn = [settings.seed + n for n in range(seeds)]
    report = compare_orders(
        joined, moment, size, settings, seeds=drawn, ks=ks, lists=lists,
        progress=progress,
    )  # fmt: skip
    return {
        "suite": "shown-lists",
        "notes": list(settings.notes),
        "train_until": readable(moment),
        "k": list(ks),
        "seeds": drawn,
        "inputs": dict(joined.inputs),
        "ranker settings": msgspec.to_builtins(settings.ranker),
        **report,
    }


def offline_funnel(
    columns: Columns,
    tables: dict[str, VectorTable],
    artefacts: dict[str, Artefact],
    settings: KindredSettings,
) -> Funnel:
    """A funnel on exact search, with the ranker where it passed its gate."""
    corpus = corpus_of(columns, tables, artefacts, settings)
    return funnel_of(corpus, artefacts.get("ranker"), settings, artefacts.get(MERGE))


def funnel_of(
    corpus: Corpus, ranker: Artefact | None, settings: KindredSettings, merge: Artefact | None
) -> Funnel:
    """The funnel over a corpus, with a ranker and a learned merge where they may serve."""
    plain = Funnel(
        corpus=corpus,
        recall=settings.recall,
        blend=settings.blend,
        merge=learned_weights(settings.recall, merge),
    )
    if ranker is None or not ranker.card.gate.passed:
        return plain
    try:
        booster, calibration = from_artefact(ranker.arrays, ranker.texts)
    except VersionMismatch as error:
        structlog.get_logger("kindred").warning("the ranker does not serve", reason=str(error))
        return plain
    if settings.api.compiled_ranker:
        process_walk().prepare_aside()
    blend = with_usual_price(settings.blend, corpus.columns)
    return replace(plain, blend=blend, ranker=booster, calibration=calibration)


def auction_ranker_of(made: Artefact | None) -> Ranker | None:
    """The ranker of auction places; None where it may not serve, and similarity stands for it."""
    if made is None or not made.card.gate.passed:
        return None
    try:
        return from_artefact(made.arrays, made.texts)[0]
    except VersionMismatch as error:
        structlog.get_logger("kindred").warning("the auction ranker stays out", reason=str(error))
        return None


def evaluation_file(workspace: Workspace) -> Path:
    """Where the demo keeps its last evaluation."""
    return workspace.root / "evaluations" / "next-item.json"
