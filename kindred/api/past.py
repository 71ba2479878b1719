"""Evaluations that train on what came before a moment and ask about the sessions after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from kindred.api.learning import end_of, funnel_of, past_stages
from kindred.api.material import Material, read_material
from kindred.api.times import parse_moment, readable
from kindred.experiments.baselines import make_baselines
from kindred.experiments.diversity import compare_variants, variants
from kindred.experiments.next_item import evaluate
from kindred.indexer.behaviour.interactions import Interactions, action_weights
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.stage_run import run_stages
from kindred.rerank.corpus import corpus_of
from kindred.rerank.examples import Examples, cut_sessions
from kindred.rerank.funnel import Funnel
from kindred.rerank.merge_stage import MERGE
from kindred.rerank.stages import PAST, REPEATS_FROM, repeat_share, sample
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import InputError
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The funnel as it was at a moment, and what happened afterwards."""

    material: Material
    moment: int
    funnel: Funnel
    ranker: Artefact
    before: Interactions
    sessions: int
    """Sessions after the moment"""
    asked: Examples
    """Those that are asked about"""
    repeats: bool
    """Whether an item of the session may be the answer"""

    def report(self, suite: str, settings: KindredSettings) -> dict[str, Any]:
        """What every such evaluation tells."""
        return {
            "suite": suite,
            "train_until": readable(self.moment),
            "repeats": self.repeats,
            "seed": settings.seed,
            "sessions_after": self.sessions,
            "training_events": len(self.before),
            "inputs": self.material.inputs,
            "ranker": self.ranker.card.metrics,
            "ranker_serves": self.ranker.card.gate.passed,
        }


def trained_past(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    until: str,
    queries: int,
    repeats: bool | None,
) -> Past:
    """Train on what came before `until`; at most `queries` sessions after it, drawn by the seed.

    `repeats` None: where the log shows them.
    """
    material = read_material(workspace, settings, progress)
    moment = parse_moment(until, material.log.ts)
    store = ModelStore(workspace.models)
    stages = past_stages(material, moment, settings)
    rows = run_stages(
        stages, store, seed=settings.seed, progress=progress, clock=micros_now, anew=True
    )
    artefacts = {row.stage: store.load(row.stage, row.version) for row in rows}
    ranker = artefacts["ranker_past"]
    corpus = corpus_of(material.columns, material.tables, artefacts, settings, suffix=PAST)
    counted = material.log.counted(settings.signals)
    before, after = counted.before(moment), counted.between(moment, end_of(counted))
    if repeats is None:
        repeats = repeat_share(before) >= REPEATS_FROM
    examples = cut_sessions(after, rng=None, repeats=repeats)
    if not len(examples):
        raise InputError(f"no session after {readable(moment)} has two items", "$.train_until")
    return Past(
        material=material,
        moment=moment,
        funnel=funnel_of(corpus, ranker, settings, artefacts.get(MERGE + PAST)),
        ranker=ranker,
        before=before,
        sessions=len(examples),
        asked=sample(examples, queries, np.random.default_rng(settings.seed)),
        repeats=repeats,
    )


def evaluate_next_item(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    until: str,
    ks: Sequence[int],
    queries: int,
    repeats: bool | None,
) -> dict[str, Any]:
    """Train on what came before `until`, ask about what came after; the report as plain data."""
    past = trained_past(
        workspace, settings, progress, until=until, queries=queries, repeats=repeats
    )
    with progress.task("baselines"):
        baselines = make_baselines(past.before, past.funnel.corpus)
    with progress.task("evaluate", len(past.asked)) as advance:
        report = evaluate(
            past.funnel, past.asked, baselines, ks, action_weights(settings.signals),
            repeats=past.repeats, seed=settings.seed, on_queries=advance,
        )  # fmt: skip
    return {
        **past.report("next-item", settings),
        "k": list(ks),
        **msgspec.to_builtins(report),
    }


def evaluate_diversity(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    until: str,
    k: int,
    strengths: Sequence[float],
    queries: int,
    repeats: bool | None,
) -> dict[str, Any]:
    """What each way to arrange an answer costs and gives; the report as plain data.

    Where no ranker passes its gate there is no probability to pay with: only near-duplicates count.
    """
    past = trained_past(
        workspace, settings, progress, until=until, queries=queries, repeats=repeats
    )
    # Ad rates are another matter: `kindred evaluate blend` has what they cost.
    plain = msgspec.structs.replace(past.funnel.blend, a=0.0, b=0.0, c=0.0)
    tried = variants(strengths, settings.diversity, settings.blend.seller_cap)
    with progress.task("evaluate", len(past.asked)) as advance:
        table = compare_variants(
            replace(past.funnel, blend=plain), past.asked, tried, k,
            action_weights(settings.signals), repeats=past.repeats, seed=settings.seed,
            on_queries=advance,
        )  # fmt: skip
    return {
        **past.report("diversity", settings),
        "notes": list(settings.notes),
        "k": k,
        "queries": len(past.asked),
        "rows": table,
    }
