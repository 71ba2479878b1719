"""The stage that learns the merge, on the questions that the gates of all stages ask.

Spaces that learned from behaviour never saw the answers to those (a module that is kept for a week
may have seen some). The tables of pairs, linear weights, popularity and users' own items have: they
are made once more without them. At the gate each half of the questions is answered by weights that
the other half chose: learned weights serve where they are beyond chance better than those of the
settings, and are then chosen by all questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.behaviour.ease import Choice, train_ease
from kindred.indexer.behaviour.history import item_history
from kindred.indexer.behaviour.holdout import FEW, NextItem, gate_questions, without_targets
from kindred.indexer.behaviour.interactions import Interactions, action_weights
from kindred.indexer.behaviour.pairs import count_pairs
from kindred.indexer.behaviour.stages import NAMES
from kindred.indexer.behaviour.tastes import user_tastes
from kindred.indexer.columns import Columns
from kindred.indexer.models import Artefact
from kindred.indexer.refresh import refresh_time
from kindred.indexer.representations import SPACES, full_name
from kindred.indexer.stages import Made, Stage
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.corpus import corpus_of
from kindred.rerank.examples import MAX_SEEDS, NEXT, Examples
from kindred.rerank.funnel import Funnel, run
from kindred.rerank.merging import (
    Findings,
    gains,
    learn_weights,
    places_of,
    to_artefact,
)
from kindred.rerank.metrics import paired_interval
from kindred.rerank.training import CHUNK, as_queries
from kindred.retrieval.merge import Weights
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Doubles, Floats, Rows
from kindred.schemas.settings import KindredSettings

CODE = 5
"""Revision of what this stage does."""
MERGE = "merge"
EVERYTHING = 100_000
"""Candidates kept of a question: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What a merge is learned for."""

    log: Interactions
    columns: Columns
    tables: Mapping[str, VectorTable]
    until: int
    settings: KindredSettings


def merge_stages(
    market: Market, inputs: Mapping[str, str], needs: Sequence[str], *, suffix: str = ""
) -> list[Stage]:
    """The stage over the stages of one moment, by their full names; none where it is turned off."""
    settings = market.settings
    if not settings.recall.learned_merge:
        return []

    def make(artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
        return make_merge(market, artefacts, suffix, progress)

    parts = (settings.recall, settings.signals)
    return [
        Stage(
            name=MERGE + suffix,
            code=CODE,
            make=make,
            settings={
                **{type(part).__name__: msgspec.to_builtins(part) for part in parts},
                "spaces": list(settings.representations.spaces),
            },
            inputs={**inputs, "until": str(market.until)},
            needs=tuple(needs),
            keep_for=refresh_time(settings) if suffix else 0,
        )
    ]


def read_by_recall(stages: Iterable[Stage], suffix: str = "") -> list[str]:
    """Full names of those that recall reads, of the stages of one moment."""
    read = {*(name + suffix for name in NAMES), *(full_name(name, suffix) for name in SPACES)}
    return [stage.name for stage in stages if stage.name in read]


def make_merge(
    market: Market, artefacts: Mapping[str, Artefact], suffix: str, progress: Progress
) -> Made:
    """See the module."""
    settings, size = market.settings, market.columns.size
    past = market.log.before(market.until).counted(settings.signals)
    questions = gate_questions(past, size)
    if len(questions) < 2 * FEW:
        return Made.refused(f"{len(questions)} questions; it takes {2 * FEW}")
    asked = as_examples(past, questions)
    funnel = trial_funnel(market, past, questions, artefacts, suffix)
    with progress.task("recall for the merge", len(asked)) as advance:
        found = findings(asked, funnel, action_weights(settings.signals), advance)
    start = Weights.of(settings.recall)
    with progress.task("weights of the merge"):
        before = places_of(found, start)
        after = cross_fitted(found, start)
        lead = paired_interval(gains(after) - gains(before), asked.subject, settings.seed)
        chosen = learn_weights(found, start)
    reason = "NDCG@20 {:+.4f} [{:+.4f}, {:+.4f}] against the weights of the settings".format(*lead)
    passed = lead[1] > 0
    arrays, texts = to_artefact(chosen)
    heard = {SOURCES[s] for s in np.flatnonzero(found.ranks.any(axis=0))}
    metrics = {
        "weights": {n: w for n, w in chosen.named().items() if n in heard},
        "rrf_k": chosen.k,
        "questions": len(asked),
        "answers found": round(float((found.answers >= 0).mean()), 5),
        "NDCG@20": [round(x, 5) for x in lead],
        "HR@10": {
            "learned": round(float((after <= 10).mean()), 5),
            "settings": round(float((before <= 10).mean()), 5),
        },
    }
    return Made(
        arrays=arrays, texts=texts, metrics=metrics, passed=passed, reason=reason, summary=reason
    )


def cross_fitted(found: Findings, start: Weights) -> Doubles:
    """float64[Q]: place of each answer under the weights that the other half of questions chose."""
    where = np.full(found.questions, np.inf)
    halves = [np.arange(first, found.questions, 2) for first in (0, 1)]
    for own, other in (halves, halves[::-1]):
        where[own] = places_of(found.of(own), learn_weights(found.of(other), start))
    return where


def as_examples(past: Interactions, questions: NextItem) -> Examples:
    """The questions as recall is asked: at most `MAX_SEEDS` newest actions, with their kind."""
    count = len(questions)
    owner = np.full(int(past.session.max(initial=-1)) + 1, -1, np.int64)
    owner[past.session[questions.events]] = np.arange(count)
    asked = owner[past.session]
    at = np.flatnonzero((asked >= 0) & (past.row != questions.targets[asked]))
    at = at[np.argsort(asked[at], kind="stable")]
    ends = np.cumsum(np.bincount(asked[at], minlength=count))
    at = at[ends[asked[at]] - np.arange(len(at)) <= MAX_SEEDS]
    offsets = offsets_of(np.bincount(asked[at], minlength=count))
    subject = past.subject[questions.events]
    return Examples(
        offsets=offsets,
        seeds=past.row[at],
        actions=past.action[at],
        followed_offsets=np.arange(count + 1),
        followed=questions.targets,
        grades=np.full(count, NEXT, np.int8),
        now=past.ts[at[offsets[1:] - 1]],
        subject=subject,
        users=past.users[subject] if len(past.users) else past.users,
    )


def trial_funnel(
    market: Market,
    past: Interactions,
    questions: NextItem,
    artefacts: Mapping[str, Artefact],
    suffix: str,
) -> Funnel:
    """The funnel of the artefacts with tables that have not seen the answers."""
    settings, size = market.settings, market.columns.size
    rest = without_targets(past, questions)
    tables: dict[str, dict[str, Any]] = {}
    for name, forward in (("pairs", False), ("forward", True)):
        if name + suffix in artefacts:
            tables[name] = count_pairs(rest, size, settings.pairs, forward=forward).arrays()
    ease = artefacts.get("ease" + suffix)
    if ease is not None:
        chosen = ease.card.metrics["chosen"]
        choice = Choice(chosen["penalty"], chosen["rows"], chosen["newer seeds weigh more"])
        tables["ease"] = train_ease(rest, size, settings.ease, choice).arrays()
    if "history" + suffix in artefacts:
        log = without_targets(market.log.before(market.until), questions, past)
        tables["history"] = item_history(log, size, market.until, settings.signals).arrays()
    tastes = artefacts.get("tastes" + suffix)
    if tastes is not None:
        known = user_tastes(rest, market.until, settings.signals)
        known = replace(known, recalled=tastes.arrays["recalled"])
        tables["tastes"] = known.arrays()
    trial = {n: replace(artefacts[n + suffix], arrays=arrays) for n, arrays in tables.items()}
    corpus = corpus_of(
        market.columns,
        market.tables,
        {**artefacts, **{n + suffix: made for n, made in trial.items()}},
        settings,
        suffix=suffix,
    )
    return Funnel(corpus=corpus, recall=settings.recall, blend=settings.blend)


def findings(
    asked: Examples, funnel: Funnel, weights: Floats, advance: Callable[[int], None]
) -> Findings:
    """What all sources find, of the questions whose answer is among it."""
    everything = msgspec.structs.replace(funnel.recall, candidates=EVERYTHING)
    whole = replace(funnel, recall=everything)
    owners, ranks, done = [], [], 0
    answers = np.full(len(asked), -1, np.int64)
    for start in range(0, len(asked), CHUNK):
        part = asked.take(np.arange(start, min(start + CHUNK, len(asked))))
        candidates = run(whole, as_queries(part, whole, weights), k=10, until="recall").candidates
        query = candidates.queries
        hit = candidates.rows == part.followed[query]
        known = np.bincount(query[hit], minlength=len(part)) > 0
        keep = known[query]
        place: Rows = done + np.cumsum(keep) - 1
        answers[start + query[hit]] = place[hit]
        owners.append(start + query[keep])
        ranks.append(candidates.source_ranks[keep])
        done += int(keep.sum())
        advance(len(part))
    return Findings(
        questions=len(asked),
        owners=np.concatenate(owners),
        ranks=np.concatenate(ranks),
        answers=answers,
    )
