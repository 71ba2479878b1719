"""Import speed and peak memory: `python benchmarks/import_events.py --events 10000000`.

Writes a synthetic table of events in random order of time (the hardest case: every chunk touches
every day), imports it twice as `kindred import events` does, in a process of its own, and prints
events per second and the peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

CHUNK = 500_000
STARTED = 1_700_000_000


def write_table(path: Path, events: int, days: int, seed: int) -> None:
    """Parquet, or CSV by the path's name, written in chunks."""
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, events, CHUNK):
        n = min(CHUNK, events - start)
        frame = pl.DataFrame(
            {
                "product": rng.zipf(1.3, n) % 200_000,
                "visitor": rng.integers(0, 1_000_000, n),
                "visit": rng.integers(0, 4_000_000, n),
                "kind": rng.choice(["view", "add_to_cart", "purchase"], n, p=[0.9, 0.07, 0.03]),
                "moment": STARTED + rng.integers(0, days * 86_400, n),
                "price": np.round(rng.lognormal(3, 1, n), 2),
            }
        )
        part = path.with_name(f"part-{start:012}.parquet")
        frame.write_parquet(part)
        parts.append(part)
    table = pl.scan_parquet(parts)
    if path.suffix == ".csv":
        table.sink_csv(path)
    else:
        table.sink_parquet(path)
    for part in parts:
        part.unlink()


def import_table(path: Path, workspace: Path) -> tuple[dict[str, object], float, float]:
    """(report, seconds, peak resident MiB) of one import in a process of its own."""
    command = [
        sys.executable, "-c", "from kindred.api.cli import main; main()",
        "--workspace", str(workspace), "import", "events", str(path), "--json",
        "--map", "entity_id=product", "--map", "user_id=visitor", "--map", "session_id=visit",
        "--map", "action=kind", "--map", "occurred_at=moment", "--map", "value_minor=price*100",
    ]  # fmt: skip
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the import failed: {told.decode()}")
    return json.loads(told), time.monotonic() - began, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"events.{options.format}"
        write_table(path, options.events, options.days, options.seed)
        print(f"{options.events:,} events over {options.days} days, {options.format}, "
              f"{path.stat().st_size / 2**20:,.0f} MiB")  # fmt: skip
        for title in ("import", "the same again"):
            report, seconds, peak = import_table(path, Path(folder) / "workspace")
            print(f"{title}: {report['accepted']:,} new, {report['unchanged']:,} there already, "
                  f"{seconds:.1f} s, {options.events / seconds:,.0f} events/s, "
                  f"peak {peak:,.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
