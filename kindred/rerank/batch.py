"""The funnel over a file of queries: Parquet in, Parquet out, columns between.

In: `query_id`, and `seeds` (list of item ids) or `session` (list of {item_id, action, ts}, or of
item ids), optionally `filters` (a Filters as JSON text) and `k`. Out: `query_id, rank, item_id,
score, sources`, best first. A `session` may be answered with its own items again; `seeds` never.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.indexer.columns import Columns
from kindred.rerank.funnel import Funnel, Stage, run
from kindred.retrieval.queries import Queries, make_queries, seed_weights
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES
from kindred.schemas.errors import InputError
from kindred.schemas.event import ACTION_CODE, Action
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Floats, Rows

MAX_SEEDS = 64
"""Newest items of a longer session that count."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Part of a query file, and how many of its items the index knows."""

    queries: Queries
    ks: Rows
    """int64[Q]"""
    known: int
    asked: int


def check_columns(frame: pl.DataFrame | pl.LazyFrame) -> None:
    """Raise InputError unless the file has the columns that are needed, of the right shape."""
    schema = frame.collect_schema()
    if "query_id" not in schema:
        raise InputError("a query file needs the column `query_id`", "$.query_id")
    if "seeds" not in schema and "session" not in schema:
        raise InputError("a query file needs the column `seeds` or `session`", "$.seeds")
    for name in ("seeds", "session"):
        if name in schema and not isinstance(schema[name], pl.List):
            raise InputError(f"`{name}` must be a list, not {schema[name]}", f"$.{name}")
    session = schema.get("session")
    if isinstance(session, pl.List) and isinstance(session.inner, pl.Struct):
        fields = {f.name for f in session.inner.fields}
        if "item_id" not in fields or fields - {"item_id", "action", "ts"}:
            raise InputError(
                "`session` holds {item_id, action, ts}, not {" + ", ".join(sorted(fields)) + "}",
                "$.session",
            )


def seeds_of(frame: pl.DataFrame) -> pl.DataFrame:
    """(query, item_id, action, ts) of every seed, each query's oldest first."""
    parts = []
    numbered = frame.with_row_index("query")
    nothing = {"action": pl.lit(None, pl.String), "ts": pl.lit(None, pl.Int64)}
    for name in ("seeds", "session"):
        if name not in frame.columns:
            continue
        part = numbered.select("query", pl.col(name)).explode(name, empty_as_null=True).drop_nulls()
        if isinstance(part.schema[name], pl.Struct):
            part = part.unnest(name)
            missing = {k: v for k, v in nothing.items() if k not in part.columns}
            part = part.with_columns(**missing)
        else:
            part = part.rename({name: "item_id"}).with_columns(**nothing)
        parts.append(
            part.select(
                "query", pl.col("item_id").cast(pl.String), pl.col("action").cast(pl.String),
                micros(part.schema["ts"]),
            )
        )  # fmt: skip
    seeds = pl.concat(parts)
    timed = seeds.with_row_index("place").with_columns(
        all_timed=pl.col("ts").is_not_null().all().over("query")
    )
    at = pl.when("all_timed").then("ts").otherwise(0)
    return timed.sort("query", at, "place", maintain_order=True).drop("place", "all_timed")


def micros(kind: pl.DataType) -> pl.Expr:
    """`ts` in microseconds UTC, from those or from a time of any unit."""
    ts = pl.col("ts")
    return ts.cast(pl.Datetime("us")).cast(pl.Int64) if kind.is_temporal() else ts.cast(pl.Int64)


def read_batch(
    frame: pl.DataFrame,
    columns: Columns,
    *,
    half_life: float,
    action_weights: Floats,
    k: int,
    now: int,
) -> Batch:
    """The queries of `frame`, in order. Errors: InputError with the row at fault."""
    seeds = seeds_of(frame)
    owners = seeds["query"].to_numpy().astype(np.int64)
    newest_first = offsets_of(np.bincount(owners, minlength=len(frame)))[owners + 1]
    recent = newest_first - np.arange(len(owners)) <= MAX_SEEDS
    seeds, owners = seeds.filter(pl.Series(recent)), owners[recent]
    unknown = set(seeds["action"].drop_nulls().unique()) - ACTION_CODE.keys()
    if unknown:
        raise InputError(f"unknown action {sorted(unknown)[0]!r}", "$.session[*].action")
    codes = seeds["action"].fill_null(Action.VIEW.value).replace_strict(ACTION_CODE).to_numpy()
    rows = columns.rows(seeds["item_id"].to_list())
    filters, filter_ids = read_filters(frame)
    newest = seeds.group_by("query").agg(pl.col("ts").max())
    times = np.full(len(frame), now, np.int64)
    asked = newest.drop_nulls("ts")
    times[asked["query"].to_numpy()] = asked["ts"].to_numpy()
    is_session = np.zeros(len(frame), np.bool_)
    if "session" in frame.columns:
        is_session = frame["session"].is_not_null().to_numpy()
    queries = make_queries(
        columns,
        offsets_of(np.bincount(owners, minlength=len(frame))),
        rows,
        now=times,
        half_life=half_life,
        action_weights=seed_weights(action_weights, codes),
        filters=filters,
        filter_ids=filter_ids,
        exclude_seeds=~is_session,
    )
    ks = np.full(len(frame), k, np.int64)
    if "k" in frame.columns:
        if not frame["k"].dtype.is_integer() or (frame["k"] < 1).any():
            raise InputError("`k` must be a whole number from 1", "$.k")
        ks = frame["k"].fill_null(k).to_numpy().astype(np.int64)
    return Batch(queries, ks, int((rows >= 0).sum()), len(rows))


def read_filters(frame: pl.DataFrame) -> tuple[tuple[Filters, ...], Rows]:
    """(distinct filters, int64[Q] which of them)."""
    if "filters" not in frame.columns:
        return (Filters(),), np.zeros(len(frame), np.int64)
    texts = frame["filters"].fill_null("{}")
    if texts.dtype != pl.String:
        texts = frame.select(pl.col("filters").struct.json_encode()).to_series().fill_null("{}")
    distinct = texts.unique(maintain_order=True).to_list()
    number = {text: i for i, text in enumerate(distinct)}
    decoded = []
    for text in distinct:
        try:
            decoded.append(msgspec.json.decode(text, type=Filters))
        except msgspec.MsgspecError as error:
            row = texts.to_list().index(text)
            raise InputError(f"row {row}: {error}", f"$[{row}].filters") from error
    return tuple(decoded), texts.replace_strict(number, return_dtype=pl.Int64).to_numpy()


def recommend(frame: pl.DataFrame, batch: Batch, funnel: Funnel, until: Stage) -> pl.DataFrame:
    """Answers of a batch as `query_id, rank, item_id, score, sources`."""
    most = max(int(batch.ks.max(initial=1)), funnel.recall.candidates)
    wide = replace(funnel, recall=msgspec.structs.replace(funnel.recall, candidates=most))
    ranked = run(wide, batch.queries, k=batch.ks, until=until)
    candidates = ranked.candidates
    candidates = candidates.take(candidates.ranks < batch.ks[candidates.queries])
    order = next(
        c for c in (candidates.blend, candidates.score, candidates.merged) if c is not None
    )
    ids = funnel.corpus.columns.item_ids
    return pl.DataFrame(
        {
            "query_id": frame["query_id"].gather(candidates.queries),
            "rank": (candidates.ranks + 1).astype(np.int32),
            "item_id": pl.Series([ids[row] for row in candidates.rows.tolist()], dtype=pl.String),
            "score": np.asarray(order, np.float64),
            "sources": source_names(candidates.sources),
        }
    )


def source_names(bits: NDArray[np.uint32]) -> pl.Series:
    """Names of the sources in each set of bits uint32[n]."""
    sets, inverse = np.unique(bits, return_inverse=True)
    named = [[name for s, name in enumerate(SOURCES) if few >> s & 1] for few in sets.tolist()]
    return pl.Series(named, dtype=pl.List(pl.String)).gather(inverse)
