"""What item representations are worth on real data: workspaces, training, index, evaluation.

    python benchmarks/representations.py FOLDER [NAME ...]

FOLDER gets a workspace for each data set; `../shared/data` holds the files. What is there already
is not done again. Writes benchmarks/results/representations_<name>.json.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
RESULTS = HERE / "results"


@dataclass(frozen=True)
class DataSet:
    """How one workspace is filled and where it is split."""

    reader: str
    folder: str | None
    until: str
    events: bool = True


SETS = {
    "amazon_office": DataSet("amazon-office", "amazon_office", "90%"),
    "grocery": DataSet("grocery", "grocery", "90%"),
    "complete_journey": DataSet("complete-journey", None, "-28d"),
    "fashion": DataSet("fashion", "fashion", "90%", events=False),
}


def kindred(workspace: Path, *arguments: str) -> float:
    """Run a command as it is typed; seconds it took."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "kindred", "-w", str(workspace), *arguments], check=True)
    return time.perf_counter() - began


def evaluate(root: Path, name: str) -> None:
    """Fill, train, index and evaluate one workspace."""
    chosen, workspace = SETS[name], root / name
    if not (workspace / "catalogue.sqlite").exists():
        workspace.mkdir(parents=True, exist_ok=True)
        kindred(workspace, "init")
        folder = [] if chosen.folder is None else [str(DATA / chosen.folder)]
        for what in ("items", "events") if chosen.events else ("items",):
            kindred(workspace, "import", what, "--reader", chosen.reader, *folder)
    print(f"{name}: train {kindred(workspace, 'train'):.0f} s", flush=True)
    print(f"{name}: index {kindred(workspace, 'index'):.0f} s", flush=True)
    output = RESULTS / f"representations_{name}.json"
    took = kindred(
        workspace, "evaluate", "representations", "--train-until", chosen.until,
        "--output", str(output), *(["--ablations"] if chosen.events else []),
    )  # fmt: skip
    print(f"{name}: evaluate {took:.0f} s -> {output}", flush=True)


def main() -> None:
    """Every data set named, all by default."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for name in sys.argv[2:] or SETS:
        evaluate(Path(sys.argv[1]), name)


if __name__ == "__main__":
    main()
