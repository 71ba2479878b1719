"""What ranking is worth where its answers are known: graded documents, clicks, few purchases.

    python benchmarks/ranking.py FOLDER [chorus|positions|curve ...] [-- OPTION ...]

FOLDER becomes a workspace that keeps encodings and simulated markets, so that a second run is
short; `../shared/data` holds the data sets. Options go to `kindred evaluate ranking` as they are,
such as `--impressions 200000`. Writes benchmarks/results/ranking_<suite>.json.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data"
RESULTS = HERE / "results"
SUITES = ("chorus", "positions", "curve")


def measure(workspace: Path, suite: str, options: list[str]) -> Path:
    """Run one suite as it is typed; the file it wrote."""
    target = RESULTS / f"ranking_{suite}.json"
    began = time.perf_counter()
    subprocess.run(
        [
            sys.executable, "-m", "kindred", "-w", str(workspace), "evaluate", "ranking",
            "--suite", suite, "--data", str(DATA), "--output", str(target), *options,
        ],
        check=True,
    )  # fmt: skip
    print(f"{suite}: {time.perf_counter() - began:.0f} s -> {target}", flush=True)
    return target


def main() -> None:
    """Every suite named, all by default."""
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1 :]
    if not arguments or not set(arguments[1:]) <= set(SUITES):
        sys.exit(__doc__)
    workspace = Path(arguments[0])
    workspace.mkdir(parents=True, exist_ok=True)
    for suite in arguments[1:] or SUITES:
        measure(workspace, suite, options)


if __name__ == "__main__":
    main()
