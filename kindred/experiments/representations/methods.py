"""Every method asked the same questions: spaces, towers, baselines, the merge of the funnel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kindred.experiments.baselines import make_baselines
from kindred.experiments.next_item import MERGED, RANKED, answers
from kindred.experiments.representations.answers import (
    Ranking,
    Scores,
    by_concatenation,
    by_space,
    rank_all,
    rank_entries,
)
from kindred.experiments.representations.relations import Found, Judged, recalls
from kindred.experiments.representations.simple import (
    by_fold_in,
    by_known_visitor,
    by_tfidf,
    choose_ease,
    tfidf_table,
    train_ease,
    train_implicit,
    unit_table,
    with_popularity,
)
from kindred.experiments.representations.split import Split
from kindred.experiments.representations.training import VARIANTS, Trained
from kindred.indexer.behaviour.interactions import action_weights
from kindred.indexer.content import Content
from kindred.indexer.representations import full_name
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.corpus import corpus_of
from kindred.rerank.examples import Examples
from kindred.rerank.funnel import Funnel
from kindred.rerank.merge_stage import MERGE
from kindred.rerank.merging import learned_weights
from kindred.rerank.training import CHUNK, as_queries
from kindred.retrieval.queries import Queries
from kindred.retrieval.sources import Entries
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings

Kind = Literal["input", "hybrid", "control", "baseline", "source", "funnel"]
DEPTH = 200
"""Length of the lists of methods that cannot score every item."""
CONCATENATION = "concat (untrained)"
HYBRID = "hybrid"
IMPLICIT, FOLD_IN = "implicit ALS (similar items)", "implicit ALS (visitor from seeds)"
KNOWN_VISITOR = "implicit ALS (known visitor)"
SOURCES_SHOWN = ("pairs", "forward", "ease", "again")


@dataclass(frozen=True, slots=True)
class Answered:
    """One method's answers to one split's questions."""

    kind: Kind
    ranking: Ranking


def funnel_of_split(
    content: Content, trained: Trained, settings: KindredSettings, suffix: str
) -> Funnel:
    """The funnel as it would serve: every space whose gate passed, exact search, no ranker."""
    named = {full_name(n, suffix): artefact for n, artefact in trained.artefacts.items()}
    corpus = corpus_of(content.columns, content.tables, named, settings, suffix=suffix)
    merged = learned_weights(settings.recall, trained.artefacts.get(MERGE))
    return Funnel(corpus=corpus, recall=settings.recall, blend=settings.blend, merge=merged)


def ask_everything(
    content: Content,
    split: Split,
    trained: Trained,
    funnel: Funnel,
    settings: KindredSettings,
    *,
    seed: int,
    progress: Progress,
    chosen: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Answered], dict[str, Any]]:
    """(answers by method, what was chosen on the way, unless an earlier seed has `chosen`)."""
    active = content.columns.active[: content.columns.size]
    size = len(active)
    ask = asker(funnel, settings)
    queries = ask(split.questions)
    found: dict[str, Answered] = {}

    def rank(name: str, kind: Kind, scores: Scores) -> None:
        with progress.task(name):
            found[name] = Answered(kind, rank_all(scores, split.questions, active))

    spaces = inputs_of(content, trained)
    for name, table in spaces.items():
        rank(name, "input", by_space(queries, name, table, size))
    if len(spaces) > 1:
        rank(CONCATENATION, "control", by_concatenation(queries, spaces, size))
    for name, table in trained.variant_spaces().items():
        if name in VARIANTS:
            rank(name, "control", by_space(queries, name, table, size))
    made = trained.spaces()
    if HYBRID in made:
        rank(HYBRID, "hybrid", by_space(queries, HYBRID, made[HYBRID], size))
    counts = np.bincount(split.log.row, minlength=size)
    with progress.task("EASE"):
        if chosen is None:
            ease, facts = choose_ease(split.log, active, split.asking, ask, seed=seed)
        else:
            facts = chosen["EASE"]
            ease = train_ease(
                split.log, size, penalty=facts["penalty"], by=facts["rows"],
                recent=facts["newer seeds weigh more"],
            )  # fmt: skip
    rank("EASE", "baseline", ease.scores(queries, size))
    del ease
    words = tfidf_table(content.texts)
    if words is not None:
        rank("TF-IDF text", "baseline", by_tfidf(queries, words))
    if "als" in made:
        rank(
            "ALS + 0.1 log popularity", "baseline",
            with_popularity(queries, made["als"], counts, size),
        )  # fmt: skip
    with progress.task("implicit"):
        library = train_implicit(split.log, size, seed)
    factors = unit_table(np.asarray(library.item_factors), counts > 0)
    rank(IMPLICIT, "baseline", by_space(queries, IMPLICIT, factors, size))
    rank(FOLD_IN, "baseline", by_fold_in(queries, library, counts > 0))
    rank(
        KNOWN_VISITOR, "baseline",
        by_known_visitor(split.log, split.questions.subject, library, counts > 0),
    )  # fmt: skip
    with progress.task("baselines"):
        baselines = make_baselines(split.log, funnel.corpus)
    with progress.task("recall", len(split.questions)) as advance:
        for name, kind, ranking in listed(funnel, split.questions, settings, baselines, advance):
            found[name] = Answered(kind, ranking)
    return found, {"EASE": facts}


def ask_relation(
    judged: Judged,
    content: Content,
    split: Split,
    trained: Trained,
    funnel: Funnel,
    settings: KindredSettings,
    *,
    seed: int,
    progress: Progress,
) -> Found:
    """What each space and each simple list finds of one relation's lists."""
    active = content.columns.active[: content.columns.size]
    size = len(active)
    tables = {**inputs_of(content, trained), **trained.variant_spaces()}
    tables |= {n: t for n, t in trained.spaces().items() if n == HYBRID}

    def scorer(name: str, table: VectorTable) -> Callable[[Queries], Scores]:
        return lambda queries: by_space(queries, name, table, size)

    with progress.task(f"{judged.relation}s"):
        found = recalls(
            judged,
            asker(funnel, settings),
            {name: scorer(name, table) for name, table in tables.items()},
            make_baselines(split.log, funnel.corpus),
            active,
            seed,
        )
    return Found(judged.rows, ~split.known[judged.rows], found)


def inputs_of(content: Content, trained: Trained) -> dict[str, VectorTable]:
    """The spaces that a hybrid may read, by stage or encoder."""
    made = {name: table for name, table in trained.spaces().items() if name != HYBRID}
    return {**content.tables, **made}


def asker(funnel: Funnel, settings: KindredSettings) -> Callable[[Examples], Queries]:
    """Questions as recall gets them: newer seeds weigh more, seeds are no answers."""
    weights = action_weights(settings.signals)

    def ask(questions: Examples) -> Queries:
        return as_queries(questions, funnel, weights)

    return ask


def listed(
    funnel: Funnel,
    questions: Examples,
    settings: KindredSettings,
    baselines: Mapping[str, Any],
    advance: Callable[[int], None],
) -> Iterator[tuple[str, Kind, Ranking]]:
    """Methods that answer with lists: simple baselines, the sources that are no space, the merge.

    The merge is whole: every candidate of every source, in the order of the reciprocal ranks.
    """
    parts: dict[str, list[Entries]] = {}
    ask = asker(funnel, settings)
    size = funnel.corpus.columns.size
    for start in range(0, len(questions), CHUNK):
        part = questions.take(np.arange(start, min(start + CHUNK, len(questions))))
        queries = ask(part)
        for name, baseline in baselines.items():
            entries = baseline(queries, DEPTH)
            parts.setdefault(name, []).append(_moved(entries, start))
        for name, answer in answers(funnel, queries, {}, DEPTH):
            if name in (*SOURCES_SHOWN, MERGED, RANKED):
                scores = -answer.ranks.astype(np.float32)
                entries = Entries(answer.queries, answer.rows, scores)
                parts.setdefault(name, []).append(_moved(entries, start))
        advance(len(part))
    for name, entries in parts.items():
        whole = Entries(
            np.concatenate([e.queries for e in entries]),
            np.concatenate([e.rows for e in entries]),
            np.concatenate([e.scores for e in entries]),
        )
        kind: Kind = (
            "baseline" if name in baselines else "source" if name in SOURCES_SHOWN else "funnel"
        )
        ranking = rank_entries(whole, questions, size, ordered=name not in baselines)
        yield name, kind, ranking


def _moved(entries: Entries, by: int) -> Entries:
    """In order of query, then score, as part of a longer list of queries."""
    order = np.lexsort((-entries.scores, entries.queries))
    return Entries(entries.queries[order] + by, entries.rows[order], entries.scores[order])
