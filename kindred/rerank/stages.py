"""The ranker's stage: from what was shown, or else from what people did next.

Where enough shown lists are joined with what came of them, the ranker learns from those. Before,
it is trained on the newest window of the log, with tables of what came before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from kindred.indexer.behaviour.interactions import Interactions, action_weights
from kindred.indexer.behaviour.stages import behaviour_stages
from kindred.indexer.columns import Columns
from kindred.indexer.models import Artefact
from kindred.indexer.refresh import refresh_time
from kindred.indexer.representations import SPACES, full_name
from kindred.indexer.stages import Made, Stage
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.corpus import corpus_of
from kindred.rerank.examples import Examples, cut_sessions, joined
from kindred.rerank.features import SPECIFICATION
from kindred.rerank.funnel import Funnel
from kindred.rerank.joined_stages import RANKER, Shown, enough_lists, joined_stages, made_of
from kindred.rerank.logged import JoinedLog
from kindred.rerank.merge_stage import MERGE, Market, merge_stages, read_by_recall
from kindred.rerank.merging import learned_weights
from kindred.rerank.training import TooLittle, train_ranker
from kindred.schemas.clock import DAY
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings, RankerSettings

CODE = 9
"""Revision of what the ranker's stage does where it learns from what people did next."""
PAST = "_past"
"""Suffix of the stages that the ranker learns over: made of what came before its window."""
SINGLE_SEED = 0.3
"""Share of training queries with the newest seed alone, as a widget asks."""
MOST_CUTS = 4
"""Times that one session is cut, at most."""
FEW = 200
"""With fewer training queries than this no ranker is worth its gate."""
REPEATS_FROM = 0.01
"""Share of next items that the session already held from which repeats are part of the task."""


def window_start(log: Interactions, until: int, settings: KindredSettings) -> int:
    """Where the ranker's window begins: `window_days` back, or less so that enough lies before."""
    past = log.before(until)
    if not len(past):
        return until
    by_share = int(past.ts[int((1 - settings.ranker.window_share) * (len(past) - 1))])
    return max(until - round(settings.ranker.window_days * DAY), by_share)


def repeat_share(window: Interactions) -> float:
    """How often the last item of a session was in it before."""
    held_out = cut_sessions(window, rng=None, repeats=True)
    fresh = cut_sessions(window, rng=None, repeats=False)
    return 1 - len(fresh) / max(len(held_out), 1)


def ranker_stages(
    log: Interactions,
    columns: Columns,
    tables: Mapping[str, VectorTable],
    until: int,
    settings: KindredSettings,
    inputs: Mapping[str, str],
    *,
    joined: JoinedLog | None = None,
    name: str = "ranker",
    suffix: str = PAST,
    learned: Callable[[int, str], list[Stage]] = lambda until, suffix: [],  # noqa: ARG005
    threads: int = 0,
    studies: Path | None = None,
) -> list[Stage]:
    """The ranker from shown lists where `joined` has enough of them.

    Else the behaviour stages before the window and what is `learned` about items from before it,
    by moment and suffix, and the ranker trained in it. That ranker is kept as long as the past it
    is made from: a day more of a window of weeks teaches it little. One of shown lists is not.
    """
    if joined is not None and enough_lists(joined, until, settings):
        shown = Shown(
            log=joined, until=until, size=columns.size, settings=settings,
            suffix=name.removeprefix(RANKER), threads=threads, studies=studies,
        )  # fmt: skip
        return joined_stages(shown)
    start = window_start(log, until, settings)
    past = behaviour_stages(
        log, columns.size, start, settings, inputs, suffix=suffix, threads=threads,
        shown=None if joined is None else joined.shown,
        shown_input="none" if joined is None else joined.inputs["joined"],
        shown_until=None if joined is None else joined.until,
    )  # fmt: skip
    modules = learned(start, suffix)
    vectors = {full_name(stage, suffix) for stage in SPACES}
    needs = (*past, *(stage for stage in modules if stage.name in vectors))
    market = Market(log=log, columns=columns, tables=tables, until=start, settings=settings)
    merge = merge_stages(market, inputs, read_by_recall(needs, suffix), suffix=suffix)
    parts = (learned_by(settings), settings.recall, settings.signals)
    ranker = Stage(
        name=name,
        code=CODE,
        make=Window(market=market, until=until, suffix=suffix, threads=threads).make,
        settings={type(part).__name__: msgspec.to_builtins(part) for part in parts},
        inputs={**inputs, "until": str(until), "features": SPECIFICATION},
        needs=tuple(stage.name for stage in (*needs, *merge)),
        keep_for=refresh_time(settings),
        keep_refused=False,  # a young shop's next ranker may pass tomorrow
    )
    return [*past, *modules, *merge, ranker]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The newest part of a log, in which a ranker learns over what came before it."""

    market: Market
    """As of where the window begins"""
    until: int
    suffix: str
    """Of the stages of what came before"""
    threads: int

    def make(self, artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
        """The ranker, from what people did next in the window."""
        settings = self.market.settings
        counted = self.market.log.counted(settings.signals)
        window = counted.between(self.market.until, self.until)
        repeats = repeat_share(window) >= REPEATS_FROM
        learning, development = split(window, repeats, settings)
        queries = len(learning) + len(development)
        if queries < FEW:
            return Made.refused(f"{queries} training queries; it takes {FEW}")
        with (
            progress.task("recall for the ranker", queries) as on_queries,
            progress.task("grow trees", settings.ranker.trees) as on_tree,
        ):
            try:
                trained = train_ranker(
                    learning, development, self.funnel(artefacts), action_weights(settings.signals),
                    settings.ranker, repeats=repeats, seed=settings.seed, threads=self.threads,
                    on_queries=on_queries, on_tree=on_tree,
                )  # fmt: skip
            except TooLittle as error:
                return Made.refused(error)
        return made_of(trained, {"learned from": "what people did next", "repeats": repeats})

    def funnel(self, artefacts: Mapping[str, Artefact]) -> Funnel:
        """Recall as it was when the window began."""
        columns, tables, settings = self.market.columns, self.market.tables, self.market.settings
        corpus = corpus_of(columns, tables, artefacts, settings, suffix=self.suffix)
        merged = learned_weights(settings.recall, artefacts.get(MERGE + self.suffix))
        return Funnel(corpus=corpus, recall=settings.recall, blend=settings.blend, merge=merged)


def split(
    window: Interactions, repeats: bool, settings: KindredSettings
) -> tuple[Examples, Examples]:
    """(training, development) queries: what happens after one moment is development.

    Where sessions are few, each is cut several times for training, at moments of its own.
    """
    rng = np.random.default_rng(settings.seed)
    chosen = settings.ranker

    def cut(part: Interactions) -> Examples:
        return cut_sessions(part, rng=rng, single_seed_share=SINGLE_SEED, repeats=repeats)

    once = cut(window)
    if not len(once):
        return once, once
    boundary = int(once.now[int((1 - chosen.development_share) * (len(once) - 1))])
    older = window.before(boundary)
    share = round(chosen.queries * (1 - chosen.development_share))
    first = cut(older)
    times = min(MOST_CUTS, max(1, share // max(len(first), 1)))
    training = joined([first, *(cut(older) for _ in range(times - 1))])
    development = cut(window.between(boundary, int(window.ts[-1]) + 1))
    return sample(training, share, rng), sample(development, chosen.queries - share, rng)


def sample(examples: Examples, most: int, rng: np.random.Generator) -> Examples:
    """At most `most` of the queries, still in order of time."""
    if len(examples) <= most:
        return examples
    return examples.take(np.sort(rng.choice(len(examples), most, replace=False)))


def learned_by(settings: KindredSettings) -> RankerSettings:
    """What of the ranker's settings training reads: a shadow changes nothing of it."""
    return msgspec.structs.replace(settings.ranker, shadow="")
