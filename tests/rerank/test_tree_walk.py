"""Compiled code is used once it is there; whatever keeps it away costs a line in the log."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from structlog.testing import capture_logs

from kindred.rerank import tree_walk
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.tree_walk import TreeWalk, Walk
from kindred.schemas.ranking import Doubles, Floats

SCRIPT = """
from kindred.rerank.tree_walk import TreeWalk
walk = TreeWalk()
walk.prepare()
assert walk.compiled is not None
"""


def ranker() -> tuple[Ranker, Floats]:
    rows = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    params = {"objective": "regression", "verbosity": -1, "num_threads": 1}
    return Ranker.of(lightgbm.train(params, lightgbm.Dataset(rows, rows[:, 0].copy()), 5)), rows


def processes(folder: Path, count: int) -> Sequence[subprocess.CompletedProcess[str]]:
    """So many at once that keep what they compile in `folder`."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for _ in range(count)
    ]  # fmt: skip
    ended = []
    for process in begun:
        said, _ = process.communicate(timeout=120)
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, said))
    return ended


def test_lightgbm_answers_until_the_code_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    make, begun, go = tree_walk._compiled, threading.Event(), threading.Event()

    def slowly() -> Walk | None:
        begun.set()
        go.wait(60)
        return make()

    monkeypatch.setattr(tree_walk, "_compiled", slowly)
    plain, rows = ranker()
    walk = TreeWalk()
    walked = plain.walked_by(walk)
    walk.prepare_aside()
    assert begun.wait(60)
    assert walk.compiled is None
    before = walked.score(rows)
    go.set()
    walk.prepare()  # waits for the other thread
    calls = counted(walk)
    np.testing.assert_array_equal(walked.score(rows), before)
    np.testing.assert_array_equal(plain.score(rows), before)
    assert calls() == 1


def counted(walk: TreeWalk) -> Callable[[], int]:
    """How often the compiled code is asked from now on."""
    compiled, times = walk.compiled, []
    assert compiled is not None

    def ask(*columns: Doubles) -> None:
        times.append(1)
        compiled(*columns)

    walk.compiled = ask
    return lambda: len(times)


def test_without_numba_lightgbm_answers_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    plain, rows = ranker()
    walk = TreeWalk()
    walked = plain.walked_by(walk)
    with capture_logs() as lines:
        walk.prepare()
        walk.prepare()
        np.testing.assert_array_equal(walked.score(rows), plain.score(rows))
    assert walk.compiled is None
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "numba" in lines[0]["reason"]


def test_the_loop_is_never_walked_as_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.config.DISABLE_JIT", True)
    walk = TreeWalk()
    with capture_logs() as lines:
        walk.prepare()
    assert walk.compiled is None
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "NUMBA_DISABLE_JIT" in lines[0]["reason"]


def test_processes_may_compile_at_once_and_what_they_kept_may_be_damaged(
    tmp_path: Path,
) -> None:
    for process in processes(tmp_path, 2):
        assert process.returncode == 0, process.stdout
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")}
    assert kept
    (last,) = processes(tmp_path, 1)
    assert (last.returncode, last.stdout) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")} == kept
    for path in kept:
        path.write_bytes(b"no index")
    (last,) = processes(tmp_path, 1)
    assert last.returncode == 0, last.stdout
    assert "not kept for later" in last.stdout
