"""How fast items are learned about, each beside the library that does the work, in one run.

    python benchmarks/representation_speed.py WORKSPACE [--json FILE]

Reads a workspace with items and events. Ratios in one run tell more than the figures.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kindred.api.material import read_material
from kindred.api.wiring import load_settings
from kindred.indexer.behaviour.als import train_als
from kindred.indexer.behaviour.interactions import action_weights
from kindred.indexer.encoders.text import TextEncoder
from kindred.indexer.representations import Given
from kindred.indexer.towers.inputs import POPULARITY, popularity_value
from kindred.indexer.towers.learning import Fold, chosen_inputs, inputs_of_rows, train_tower
from kindred.indexer.towers.positives import conversions
from kindred.schemas.progress import SilentProgress
from kindred.schemas.workspace import Workspace

TEXTS = 2_000
PAIRS = 20_000


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what it gave)."""
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def main() -> None:
    """Measure and print."""
    workspace = Workspace(Path(sys.argv[1]))
    settings = load_settings(workspace.settings, os.environ)
    material = read_material(workspace, settings, SilentProgress())
    size, log = material.columns.size, material.log.counted(settings.signals)
    out: dict[str, Any] = {"items": size, "events": len(log)}

    quiet = SilentProgress()
    took, model = timed(lambda: train_als(log, size, settings.als, settings.signals, 7, 0, quiet))
    out["als, whole stage, s"] = round(took, 2)
    out["als, implicit alone, s"] = round(library_als(log, size, settings), 2)

    texts = [t for t in dict.fromkeys(material.content.texts) if t][:TEXTS]
    encoder = TextEncoder(settings.encoders)
    encoder.encode_texts(texts[:64])
    took, _ = timed(lambda: encoder.encode_texts(texts))
    out["text, ours, texts/s"] = round(len(texts) / took)
    library = encoder._model
    took, _ = timed(lambda: library.encode(texts, batch_size=settings.encoders.text.batch_size))
    out["text, sentence-transformers alone (float32), texts/s"] = round(len(texts) / took)

    until = int(log.ts[-1]) + 1
    given = Given(content=material.content, log=log, until=until, settings=settings)
    counts = np.bincount(log.row, minlength=size)[:size]
    learned = {"als": (model.unit(), model.present), POPULARITY: popularity_value(counts)}
    inputs = inputs_of_rows(given, learned)
    chosen = settings.representations.hybrid
    pairs = conversions(given.past, chosen.pairs_per_visit, PAIRS, 7)
    nobody = given.questions.take(np.zeros(0, np.int64))
    tower = train_tower(given, inputs, [Fold(pairs, inputs)], chosen, nobody, quiet, name="hybrid")
    examples = tower.trained.steps * chosen.loop.batch_size
    out["hybrid, inputs"] = list(chosen_inputs(inputs, chosen))
    out["hybrid, training, pairs/s"] = round(examples / tower.trained.seconds)
    took, _ = timed(lambda: tower.weights(inputs))
    out["hybrid, vectors, items/s"] = round(size / took)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out["peak memory, MiB"] = round(peak / 1024)
    print(json.dumps(out, indent=2))
    if "--json" in sys.argv:
        Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps(out, indent=2) + "\n")


def library_als(log: Any, size: int, settings: Any) -> float:
    """Seconds of implicit's own fit on the same cells."""
    from implicit.als import AlternatingLeastSquares
    from scipy import sparse

    weights = action_weights(settings.signals)[log.action]
    cells = sparse.coo_matrix((weights, (log.subject, log.row)), shape=(len(log.subjects), size))
    chosen = settings.als
    model = AlternatingLeastSquares(
        chosen.embedding_size, regularization=chosen.regularization,
        iterations=chosen.iterations, random_state=7,
    )  # fmt: skip
    took, _ = timed(lambda: model.fit(cells.tocsr(), show_progress=False))
    return took


if __name__ == "__main__":
    main()
