"""Shown lists with the features that they were ranked by, from the decision log.

Features are taken as they were logged, column by column by name. What a list's specification did
not have yet is unknown (NaN), but for the item's exposure and the pair's: those are computed as of
the beginning of the day of the list (UTC), which is what a daily training would have served, or as
of an earlier moment where nothing later may count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.indexer.behaviour.exposure import Exposure, item_exposure
from kindred.indexer.behaviour.impressions import Impressions
from kindred.indexer.behaviour.pair_exposure import PairExposure, pair_exposure
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.rerank.features.exposure import FROM_EXPOSURE, PAIR, PLACES
from kindred.retrieval.segments import offsets_of
from kindred.schemas.clock import DAY
from kindred.schemas.errors import ArtefactError
from kindred.schemas.ranking import Floats, Mask, Rows

HARMLESS = ("no ranker serves", "session:")
"""What an answer may say of a stage that fell back, without its list being worth less."""
WIDTH = 4
"""Bytes of a float32."""

ReadDecisions = Callable[[int, int], pl.LazyFrame]
"""(since, until) -> decisions of that time (DECISION_SCHEMA)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedLog:
    """What learning from shown lists reads."""

    shown: Impressions
    decisions: ReadDecisions
    specifications: Mapping[str, tuple[str, ...]]
    """Names of the features by specification, as far as they are known"""
    inputs: Mapping[str, str]
    """Fingerprints of both logs"""
    until: int
    """Microseconds UTC up to which they are joined; what came later is not known"""
    auctions: bool = False
    """Only what stood at auction places, of lists that had several; else all but that"""

    def readable(self) -> Mask:
        """bool[L]: lists with logged features of a known specification."""
        known = [SPECIFICATION, *self.specifications]
        return self.shown.specs.is_in(known).fill_null(value=False).to_numpy()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedLists:
    """n rows of L shown lists with their features; `lists` and `at` point into `shown`."""

    shown: Impressions
    lists: Rows
    """int64[L]"""
    offsets: Rows
    """int64[L + 1]"""
    at: Rows
    """int64[n]: positions in the rows of `shown`"""
    recall_rank: NDArray[np.uint16]
    """uint16[n]: place in the merge, 1 = first"""
    features: Floats
    """float32[n, len(FEATURES)]"""

    def __len__(self) -> int:
        return len(self.lists)

    @property
    def owners(self) -> Rows:
        """int64[n]: the list of each row, 0 to L - 1."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def column(self, name: str) -> Floats:
        """float32[n]: a feature by name."""
        column: Floats = self.features[:, FEATURES.index(name)]
        return column

    def take(self, wanted: Mask) -> LoggedLists:
        """The lists where bool[L] holds."""
        rows = wanted[self.owners]
        return LoggedLists(
            shown=self.shown,
            lists=self.lists[wanted],
            offsets=offsets_of(np.diff(self.offsets)[wanted]),
            at=self.at[rows],
            recall_rank=self.recall_rank[rows],
            features=self.features[rows],
        )


def read_lists(
    log: JoinedLog,
    wanted: Rows,
    keep: Mask,
    size: int,
    on_lists: Callable[[int], None],
    *,
    known: int,
) -> LoggedLists:
    """The lists `wanted` (int64[m], rising) of `log.shown`, with the rows where `keep` holds.

    A list stays away where its decision is gone, logged no features or was cut short by a
    deadline or a fault; so do rows behind the logged candidates. `size` is the catalogue's. An
    exposure that was not logged is filled in, and knows nothing from the moment `known` on.
    """
    shown = log.shown
    days = shown.at[wanted] // DAY
    parts = []
    for day in np.unique(days).tolist():
        of_day = wanted[days == day]
        exposure = item_exposure(shown, size, min(day * DAY, known))
        pairs = pair_exposure(shown, min(day * DAY, known))
        for specification, lists in _by_specification(shown, of_day):
            part = _read_day(log, specification, lists, keep, day)
            _fill_exposure(part, exposure, pairs, PAIR.name in _names(log, specification))
            parts.append(part)
        on_lists(len(of_day))
    if not parts:
        parts = [_nothing(shown)]
    return LoggedLists(
        shown=shown,
        lists=np.concatenate([p.lists for p in parts]),
        offsets=offsets_of(np.concatenate([np.diff(p.offsets) for p in parts])),
        at=np.concatenate([p.at for p in parts]),
        recall_rank=np.concatenate([p.recall_rank for p in parts]),
        features=np.concatenate([p.features for p in parts]),
    )


def _by_specification(shown: Impressions, lists: Rows) -> Sequence[tuple[str, Rows]]:
    specs = shown.specs.gather(lists)
    return [
        (name, lists[(specs == name).fill_null(value=False).to_numpy()])
        for name in specs.drop_nulls().unique(maintain_order=True).to_list()
    ]


def _decisions_of_day(log: JoinedLog, lists: Rows, width: int, day: int) -> pl.DataFrame:
    """`list`, `features` and `candidate_recall_rank` of the sound decisions among `lists`.

    Of each no more rows, of `width` bytes, than were shown.
    """
    shown = log.shown
    asked = pl.DataFrame(
        {
            "decision_id": shown.decisions.gather(lists),
            "list": lists,
            "length": np.diff(shown.offsets)[lists],
        }
    )
    sound = (
        ~pl.col("degraded")
        .list.eval(
            ~pl.any_horizontal(
                pl.element().str.contains(harmless, literal=True) for harmless in HARMLESS
            )
        )
        .list.any()
    )
    return (
        log.decisions(day * DAY, (day + 1) * DAY)
        .select("decision_id", "degraded", "features", "candidate_recall_rank")
        .join(asked.lazy(), on="decision_id", how="inner")
        .filter(pl.col("features").is_not_null() & sound.fill_null(value=True))
        .select(
            "list",
            pl.col("features").bin.slice(0, pl.col("length") * width),
            pl.col("candidate_recall_rank").list.head(pl.col("length")),
        )
        .collect(engine="streaming")
        .sort("list")
    )


def _names(log: JoinedLog, specification: str) -> Sequence[str]:
    """Columns of the rows logged under a specification."""
    return FEATURES if specification == SPECIFICATION else log.specifications[specification]


def _read_day(log: JoinedLog, specification: str, lists: Rows, keep: Mask, day: int) -> LoggedLists:
    """Lists of one day and one specification, exposure as logged."""
    shown = log.shown
    names = _names(log, specification)
    width = len(names) * WIDTH
    frame = _decisions_of_day(log, lists, width, day)
    if frame.is_empty():
        return _nothing(shown)
    counts = frame["features"].bin.size().to_numpy().astype(np.int64) // width
    ranks = frame["candidate_recall_rank"]
    if not np.array_equal(ranks.list.len().to_numpy(), counts):
        raise ArtefactError(
            f"decisions of day {day} log other feature rows than candidates: specification "
            f"{specification} has {len(names)} columns"
        )
    logged = np.frombuffer(b"".join(frame["features"].to_list()), "<f4").reshape(-1, len(names))
    lists = frame["list"].to_numpy().astype(np.int64)
    starts, lengths = shown.offsets[lists], np.diff(shown.offsets)[lists]
    owners = np.repeat(np.arange(len(lists)), lengths)
    at = np.arange(int(lengths.sum())) + np.repeat(starts - offsets_of(lengths)[:-1], lengths)
    place = shown.position[at].astype(np.int64) - 1
    stays = keep[at] & (place < counts[owners])
    owners, at, place = owners[stays], at[stays], place[stays]
    row = offsets_of(counts)[owners] + place
    held = np.bincount(owners, minlength=len(lists))
    return LoggedLists(
        shown=shown,
        lists=lists[held > 0],
        offsets=offsets_of(held[held > 0]),
        at=at,
        recall_rank=ranks.explode().to_numpy()[row],
        features=by_name(logged[row], names),
    )


def by_name(logged: Floats, names: Sequence[str]) -> Floats:
    """float32[n, len(FEATURES)] from float32[n, len(names)]: equal names meet, the rest is NaN."""
    if tuple(names) == FEATURES:
        return logged.astype(np.float32)
    out = np.full((len(logged), len(FEATURES)), np.nan, np.float32)
    place = {name: i for i, name in enumerate(names)}
    for i, name in enumerate(FEATURES):
        if name in place:
            out[:, i] = logged[:, place[name]]
    return out


def _fill_exposure(
    part: LoggedLists, exposure: Exposure, pairs: PairExposure, knew_pairs: bool
) -> None:
    """Give lists that served without any exposure that of the day's beginning, in place.

    Theirs of pairs, too, and to all lists where the specification did not have it.
    """
    shown, start = part.shown, FEATURES.index(FROM_EXPOSURE[0].name)
    logged = part.features[:, start : start + len(FROM_EXPOSURE)]
    knew = np.bincount(part.owners, ~np.isnan(logged).all(axis=1), minlength=len(part)) > 0
    blind = ~knew[part.owners]
    logged[blind] = exposure.gather(shown.row[part.at[blind]])[:, PLACES]
    without = blind if knew_pairs else np.ones(len(blind), np.bool_)
    at = part.at[without]
    part.features[without, FEATURES.index(PAIR.name)] = pairs.lookup(
        shown.seed[shown.owners[at]], shown.row[at]
    )


def _nothing(shown: Impressions) -> LoggedLists:
    none = np.zeros(0, np.int64)
    return LoggedLists(
        shown=shown, lists=none, offsets=np.zeros(1, np.int64), at=none,
        recall_rank=np.zeros(0, np.uint16), features=np.zeros((0, len(FEATURES)), np.float32),
    )  # fmt: skip
