"""The small marketplace with AIR and hybrid vectors in its index.

Categories already tell nearly everything here, so a gate is right to refuse what learns no more
than they tell; it is brought into use all the same, to see it serve.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from trained_market import trained_market

from kindred.api.supervisor import ONE_THREAD
from kindred.indexer.models import ModelStore
from kindred.schemas.model import Gate
from kindred.schemas.workspace import Workspace

QUICK = {
    "hidden": [16], "input_size": 16, "pairs": 4000, "negatives": 0,
    "loop": {"epochs": 10, "batch_size": 256, "learning_rate": 0.01},
}  # fmt: skip
REPRESENTATIONS: dict[str, Any] = {
    "stages": ["signals", "air", "hybrid"],
    "threads": 1,
    "air": {"embedding_size": 16, **QUICK},
    "hybrid": {"embedding_size": 12, **QUICK},
}


def learned_market(root: Path, names: Sequence[str], **settings: Any) -> Workspace:
    """A trained workspace whose index has the learned spaces."""
    held = trained_market(root, names, representations=REPRESENTATIONS, **settings)
    models = ModelStore(held.models)
    for stage in ("air", "hybrid"):
        if models.current(stage) is None:
            bring_in(models, stage)
    kindred(held, "index", "--json")
    return held


def bring_in(models: ModelStore, stage: str, scale: float = 1.0) -> str:
    """Publish the newest version of a stage once more, with a gate that lets it through.

    Another `scale` of its last layer's bias makes it another model.
    """
    newest = models.load(stage, models.versions(stage)[-1])
    last = max(name for name in newest.arrays if name.startswith("layers_") and "bias" in name)
    card = msgspec.structs.replace(
        newest.card,
        key=f"{newest.card.key[:24]}{scale:g}",
        gate=Gate(passed=True, reason="told to"),
    )
    arrays = {**newest.arrays, last: newest.arrays[last] * scale}
    return models.publish(stage, card, arrays, newest.texts)


def kindred(workspace: Workspace, *command: str) -> None:
    """Run a command of the workspace."""
    subprocess.run(
        [sys.executable, "-m", "kindred", "-w", str(workspace.root), *command],
        check=True, env={**os.environ, **ONE_THREAD}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
