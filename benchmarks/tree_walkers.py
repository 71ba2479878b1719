"""How fast the ranker's trees are walked, by what is installed; all in the thread's own time.

LightGBM and the compiled forest always; ONNX Runtime (packages onnx, onnxruntime), treelite's
interpreter (treelite) and generated C (tl2cgen, with gcc) where they can be imported.

    python benchmarks/tree_walkers.py --json FILE
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from kindred.api.bench.report import machine
from kindred.api.bench.rerank import TRAINED_ON, grow
from kindred.api.bench.rerank_market import draw_corpus, draw_questions
from kindred.rerank.features import Context, assemble
from kindred.rerank.forest import forest_of
from kindred.rerank.tree_walk import TreeWalk
from kindred.schemas.clock import micros_now
from kindred.schemas.progress import SilentProgress
from kindred.schemas.ranking import Doubles, Floats

Score = Callable[[Floats], Doubles]


def in_onnx(booster: lightgbm.Booster, width: int) -> Score:
    """ONNX Runtime's tree ensemble; thresholds rounded down, so that float32 takes the same way."""
    import onnxruntime
    from onnx import TensorProto, helper

    forest = forest_of(booster.model_to_string())
    assert forest is not None
    ends = np.append(forest.roots[1:], len(forest.leaves)).astype(np.int64)
    tree = np.repeat(np.arange(len(ends)), np.diff(np.append(0, ends)))
    own = np.arange(len(tree)) - forest.roots.astype(np.int64)[tree]
    ways = (
        forest.ways.astype(np.int64).reshape(-1, 2) - forest.roots.astype(np.int64)[tree][:, None]
    )
    leaf = ways[:, 0] == own
    node = helper.make_node(
        "TreeEnsembleRegressor", ["rows"], ["scores"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=tree.tolist(), nodes_nodeids=own.tolist(),
        nodes_featureids=(forest.columns.astype(np.int64) % width).tolist(),
        nodes_values=np.where(leaf, 0, forest.thresholds).tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_truenodeids=np.where(leaf, 0, ways[:, 0]).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, ways[:, 1]).tolist(),
        nodes_missing_value_tracks_true=(forest.columns >= width).astype(int).tolist(),
        target_treeids=tree[leaf].tolist(), target_nodeids=own[leaf].tolist(),
        target_ids=[0] * int(leaf.sum()), target_weights=forest.leaves[leaf].tolist(),
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "trees",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 15)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda rows: session.run(None, {"rows": rows})[0][:, 0]


def in_treelite(booster: lightgbm.Booster, folder: Path) -> Score:
    """Treelite's interpreter."""
    import treelite

    booster.save_model(folder / "model.txt")
    model = treelite.frontend.load_lightgbm_model(folder / "model.txt")
    return lambda rows: treelite.gtil.predict(model, rows, nthread=1, pred_margin=True).ravel()


def in_c(booster: lightgbm.Booster, folder: Path) -> Score:
    """C made of the trees, compiled by gcc."""
    import tl2cgen
    import treelite

    booster.save_model(folder / "model.txt")
    model = treelite.frontend.load_lightgbm_model(folder / "model.txt")
    tl2cgen.export_lib(model, toolchain="gcc", libpath=folder / "model.so", params={})
    found = tl2cgen.Predictor(folder / "model.so", nthread=1)
    return lambda rows: found.predict(
        tl2cgen.DMatrix(rows.astype(np.float64)), pred_margin=True
    ).ravel()


def walkers(booster: lightgbm.Booster, width: int, folder: Path) -> dict[str, Score]:
    """By name, those that can be made here."""
    forest = forest_of(booster.model_to_string())
    walk = TreeWalk()
    walk.prepare()
    assert forest is not None
    assert walk.compiled is not None
    found: dict[str, Score] = {
        "lightgbm": lambda rows: booster.predict(rows, num_threads=1, validate_features=False),
        "compiled forest": lambda rows: forest.score(rows, walk.compiled),
    }
    for name, make in {
        "onnxruntime": lambda: in_onnx(booster, width),
        "treelite": lambda: in_treelite(booster, folder),
        "tl2cgen": lambda: in_c(booster, folder),
    }.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name}: left out, {error}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--leaves", type=int, default=31)
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    now = micros_now()
    corpus = draw_corpus(20_000, args.seed, now, SilentProgress())
    corpus, asked = draw_questions(corpus, args.requests, args.candidates, args.seed, now)
    lists = [assemble(Context(a.queries, a.candidates, corpus)) for a in asked]
    booster = grow(lists[:TRAINED_ON], args.trees, args.leaves, args.seed, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        found = walkers(booster, lists[0].shape[1], Path(folder))
        errors = {
            name: float(np.abs(score(lists[0]) - found["lightgbm"](lists[0])).max())
            for name, score in found.items()
        }
        took: dict[str, list[float]] = {name: [] for name in found}
        for rows in lists:
            for name, score in found.items():
                begin = time.thread_time()
                score(rows)
                took[name].append((time.thread_time() - begin) * 1e3)
    medians = {name: float(np.median(ms)) for name, ms in took.items()}
    report: dict[str, Any] = {
        "trees": args.trees, "leaves": args.leaves, "candidates": args.candidates,
        "features": lists[0].shape[1], "requests": args.requests, "seed": args.seed,
        "machine": machine(),
        "walkers": {
            name: {
                "ms": round(medians[name], 3),
                "times lightgbm": round(medians["lightgbm"] / medians[name], 2),
                "largest error": errors[name],
            }
            for name in found
        },
    }  # fmt: skip
    for name, told in report["walkers"].items():
        print(f"{name:16}", told)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
