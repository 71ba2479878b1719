"""A query file answered by several processes, in order, written aside and renamed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl

from kindred.api.wiring import Offline, load_settings, open_offline
from kindred.rerank.batch import check_columns, read_batch, recommend
from kindred.rerank.funnel import Stage
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import InputError
from kindred.schemas.progress import Progress
from kindred.schemas.workspace import Workspace

CHUNK = 512
"""Queries answered together."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")

ANSWERS: dict[str, pl.DataType] = {
    "query_id": pl.String(), "rank": pl.Int32(), "item_id": pl.String(), "score": pl.Float64(),
    "sources": pl.List(pl.String),
}  # fmt: skip
"""What the file of no queries at all holds."""

_offline: Offline | None = None
"""What a worker process answers with: opened once, when it starts."""


def recommend_file(
    root: Path,
    source: Path,
    target: Path,
    *,
    k: int,
    stage: str,
    workers: int | None,
    progress: Progress,
) -> dict[str, Any]:
    """Answer `source` into `target`; a summary. Errors: InputError for what the file lacks."""
    began = time.perf_counter()
    try:
        queries = pl.read_parquet(source)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{source} cannot be read: {error}", "$.input") from error
    check_columns(queries)
    chunks = [queries.slice(start, CHUNK) for start in range(0, len(queries), CHUNK)]
    count = min(workers or len(os.sched_getaffinity(0)), max(len(chunks), 1))
    parts: list[pl.DataFrame] = []
    known = asked = 0
    with progress.task("recommend", len(queries)) as advance, _pool(count, root) as pool:
        jobs = pool.map(
            _answer, chunks, [k] * len(chunks), [stage] * len(chunks), [micros_now()] * len(chunks)
        )
        for chunk, (part, k_known, k_asked) in zip(chunks, jobs, strict=True):
            parts.append(part)
            known, asked = known + k_known, asked + k_asked
            advance(len(chunk))
    answers = pl.concat(parts) if parts else pl.DataFrame(schema=ANSWERS)
    aside = target.with_name(f".{target.name}.aside")
    answers.write_parquet(aside)
    aside.replace(target)
    return {
        "queries": len(queries),
        "answers": len(answers),
        "known_items": known,
        "asked_items": asked,
        "processes": count,
        "seconds": round(time.perf_counter() - began, 3),
        "output": str(target),
    }


@contextmanager
def _pool(count: int, root: Path) -> Iterator[ProcessPoolExecutor]:
    """Processes with one thread each: they, not threads, use the cores."""
    saved = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        with ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=_open, initargs=(root,)
        ) as pool:
            yield pool
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _open(root: Path) -> None:
    global _offline
    workspace = Workspace(root)
    _offline = open_offline(workspace, load_settings(workspace.settings, os.environ))


def _answer(frame: pl.DataFrame, k: int, stage: Stage, now: int) -> tuple[pl.DataFrame, int, int]:
    assert _offline is not None
    funnel = _offline.funnel
    batch = read_batch(
        frame,
        funnel.corpus.columns,
        half_life=funnel.recall.session_half_life,
        action_weights=_offline.action_weights,
        k=k,
        now=now,
    )
    return recommend(frame, batch, funnel, stage), batch.known, batch.asked
