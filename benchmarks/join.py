"""The join's speed, memory and rate: `python benchmarks/join.py --impressions 10000000`.

Writes a lake of answers and of what came of them over 30 days (seeded), joins it in a process of
its own as `kindred join` does, then once more with nothing new, and writes seconds, the peak of
resident memory and the share of events that found their impression to benchmarks/results.

`--stream` gives the same rows to `StreamingJoin` too, in the order of their arrival: 5 % of the
events twice, 2 % of them up to an hour late, the watermark an hour behind; and compares.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from kindred.events.contract import EVENT_SCHEMA, FACTS, event_columns
from kindred.events.joining import join_lake
from kindred.events.lake import Lake
from kindred.events.shown import DECISION_SCHEMA, DECISIONS, JOINED, JOINED_SCHEMA
from kindred.events.streaming import StreamingJoin
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import JoinSettings

STARTED = 1_700_006_400_000_000
DAYS = 30
LENGTH = 20
"""Items of an answer."""
ITEMS, SELLERS, VISITORS = 200_000, 5_000, 100_000
SECOND = 1_000_000
CLICKED = 0.03
LATER = 33
"""Days until everything that these answers lead to has happened and can no longer change."""

COLUMNS = [
    "decision_id", "item_id", "occurred_at", "user_id", "session_id", "trace", "price", "seller_id",
    "rate",
]  # fmt: skip


def market(impressions: int, seed: int) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """(decisions, what came of them, up to weeks later) for each day."""
    for day in range(DAYS):
        answers = impressions * (day + 1) // DAYS // LENGTH - impressions * day // DAYS // LENGTH
        rng = np.random.default_rng((seed, day))
        told = _decisions(day, answers, rng)
        yield told, _events(day, told, rng)


def _decisions(day: int, n: int, rng: np.random.Generator) -> pl.DataFrame:
    items = (rng.zipf(1.2, (n, LENGTH)) % ITEMS).astype(np.int64)
    items = (items + np.arange(LENGTH) * 7919) % ITEMS  # an answer shows an item once, mostly
    visitor = rng.integers(0, VISITORS, n)
    seller, price = items % SELLERS, 500 + items * 37 % 90_000
    rate = np.where(seller % 3 == 0, 200 + seller % 700, 0)

    def names(prefix: str, numbers: np.ndarray) -> pl.Series:
        flat = pl.Series(numbers.reshape(-1)).cast(pl.String)
        return (prefix + flat).reshape(numbers.shape).arr.to_list()

    def lists(numbers: np.ndarray) -> pl.Series:
        return pl.Series(numbers).arr.to_list()

    number = day * 100_000_000 + np.arange(n)
    frame = pl.DataFrame(
        {
            "decision_id": pl.Series(number).cast(pl.String).str.zfill(36),
            "occurred_at": STARTED + day * DAY + np.sort(rng.integers(0, DAY, n)),
            "surface": pl.Series(["similar"]).new_from_index(0, n),
            "user_id": "u" + pl.Series(visitor).cast(pl.String),
            "session_id": "s" + pl.Series(visitor + VISITORS * day).cast(pl.String),
            "traceparent": "00-" + pl.Series(number).cast(pl.String).str.zfill(32)
            + "-00000000000000aa-01",
            "shown_item": names("i", items),
            "shown_propensity": lists(np.ones((n, LENGTH))),
            "shown_explore": lists(np.zeros((n, LENGTH), bool)),
            "shown_sponsored": lists(rate > 0),
            "candidate_item": names("i", items),
            "candidate_ad_rate_bp": lists(rate),
            "candidate_price_minor": lists(price),
            "candidate_formats": lists(np.ones((n, LENGTH), np.uint8)),
            "candidate_seller_id": names("seller", seller),
        }
    )  # fmt: skip
    absent = [
        pl.lit(None, dtype).alias(c) for c, dtype in DECISION_SCHEMA.items() if c not in frame
    ]
    whole = frame.with_columns(absent)
    return whole.select(pl.col(c).cast(dtype) for c, dtype in DECISION_SCHEMA.items())


def _events(day: int, told: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Views of half of what was shown, clicks, carts and purchases that follow from them."""
    rows = told.select(
        *("decision_id", "occurred_at", "user_id", "session_id"),
        trace="traceparent",
        item_id="shown_item",
        price="candidate_price_minor",
        seller_id="candidate_seller_id",
        rate="candidate_ad_rate_bp",
    ).explode("item_id", "price", "seller_id", "rate")
    seen = rows.filter(rng.random(rows.height) < 0.5)
    clicked = _later(seen.filter(rng.random(seen.height) < CLICKED / 0.5), rng, 1, 1500)
    carts = _later(clicked.filter(rng.random(clicked.height) < 0.2), rng, 1, 3600)
    bought = clicked.filter(rng.random(clicked.height) < 0.06)
    # Bought in another session, days later: most name the answer, some only the visitor.
    bought = _later(bought, rng, 600, 29 * 86_400).with_columns(
        session_id=pl.lit(None, pl.String), decision_id=_some(bought, rng, 0.7, "decision_id")
    )
    parts = [
        _as_events(_later(seen, rng, 1, 60), "inview", rng),
        _as_events(clicked, "click", rng),
        _as_events(_later(clicked, rng, 0, 2), "view", rng),
        _as_events(carts, "add_to_cart", rng),
        _as_events(bought, "purchase", rng),
    ]
    return pl.concat(parts).with_columns(
        event_id=pl.format("e{}-{}", pl.lit(day), pl.int_range(pl.len()))
    )


def _later(rows: pl.DataFrame, rng: np.random.Generator, first: int, last: int) -> pl.DataFrame:
    """The same after `first` to `last` seconds."""
    waited = rng.integers(first * SECOND, last * SECOND, rows.height)
    return rows.with_columns(occurred_at=pl.col("occurred_at") + waited)


def _some(rows: pl.DataFrame, rng: np.random.Generator, share: float, name: str) -> pl.Series:
    """A column where chance keeps it, else null."""
    kept = pl.Series(rng.random(rows.height) < share)
    return rows.select(pl.when(kept).then(name).alias(name)).to_series()


def _as_events(rows: pl.DataFrame, action: str, rng: np.random.Generator) -> pl.DataFrame:
    """Nine of ten name their decision; of the others half have the trace, half the session only."""
    bought = action == "purchase"
    link = pl.Series(rng.random(rows.height))
    frame = rows.select(
        "occurred_at", "user_id", "session_id",
        event_id=pl.lit(""), action=pl.lit(action), entity_id="item_id",
        decision_id="decision_id" if bought else pl.when(link < 0.9).then("decision_id"),
        traceparent=pl.when(pl.lit(bought) | (link < 0.95)).then("trace"),
        value_minor=pl.when(pl.lit(bought)).then("price"),
        formats=pl.lit(1), seller_id="seller_id", ad_rate_bp="rate",
    )  # fmt: skip
    facts = frame.select(pl.when(pl.lit(bought)).then(name).alias(name) for name in FACTS)
    whole = event_columns(frame.drop(FACTS)).with_columns(facts)
    return whole.select(pl.col(name).cast(dtype) for name, dtype in EVENT_SCHEMA.items())


def write_lake(lake: Path, impressions: int, seed: int) -> int:
    """Fill a lake; returns the number of events."""
    with Lake(lake).bulk() as happened:
        for told, came in market(impressions, seed):
            Lake(lake, DECISIONS).append(told)
            happened.add(came)
        return happened.commit().new


def join_here(lake: Path) -> None:
    """Join twice, and print what each took."""
    for _ in range(2):
        began = time.monotonic()
        report = join_lake(
            lake, Lake(lake, DECISIONS).scan, Lake(lake).scan, JoinSettings(),
            STARTED + (DAYS + LATER) * DAY, SilentProgress(),
        )  # fmt: skip
        told = {"seconds": round(time.monotonic() - began, 2), "peak_rss_mib": peak_rss_mib()}
        print(json.dumps(msgspec.to_builtins(report) | told), flush=True)


def peak_rss_mib() -> int:
    """Of this program: what `getrusage` says of a child counts the process it was forked from."""
    with Path("/proc/self/status").open() as status:
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) // 1024


def join_apart(lake: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `join_here` says of both runs, in a process of its own."""
    command = [sys.executable, __file__, "--lake", str(lake)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    first, again = map(json.loads, done.stdout.splitlines())
    return first, again


def stream(lake: Path, seed: int, every: int = HOUR) -> tuple[pl.DataFrame, StreamingJoin, int]:
    """(last emission of each row, the join, most rows of state) of the lake as a stream."""
    rng = np.random.default_rng(seed)
    told, happened = Lake(lake, DECISIONS).scan().collect(), Lake(lake).scan().collect()
    happened = pl.concat([happened, happened.sample(fraction=0.05, seed=seed)])
    late = np.where(rng.random(happened.height) < 0.02, rng.integers(0, HOUR, happened.height), 0)
    happened = happened.with_columns(arrived=pl.col("occurred_at") + late)
    happened = happened.sample(fraction=1, shuffle=True, seed=seed)
    joining, emitted, most = StreamingJoin(JoinSettings()), [JOINED_SCHEMA.to_frame()], 0
    end = STARTED + (DAYS + LATER) * DAY
    for now in range(STARTED, end + HOUR + 1, every):
        arrived = pl.col("arrived").is_between(now - every, now, closed="left")
        joining.add(
            decisions=told.filter(pl.col("occurred_at").is_between(now - every, now, "left")),
            events=happened.filter(arrived).drop("arrived"),
        )
        emitted.append(joining.advance(now - HOUR))
        most = max(most, sum(joining.state.values()))
    rows = pl.concat(emitted).unique(["decision_id", "position"], keep="last", maintain_order=True)
    return rows.sort("occurred_at", "decision_id", "position"), joining, most


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--impressions", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stream", action="store_true", help="join the stream too, and compare")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/join_<n>.json")
    parser.add_argument("--lake", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.lake:
        join_here(options.lake)
        return
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder) / "lake"
        events = write_lake(lake, options.impressions, options.seed)
        first, again = join_apart(lake)
        result = {
            "impressions": first["rows"], "events": events, "days": first["days"],
            "seconds": first["seconds"], "seconds_again": again["seconds"],
            "peak_rss_mib": first["peak_rss_mib"], "join_rate": first["join_rate"],
            "named_join_rate": first["named_join_rate"],
            "orphan_purchases": first["orphan_purchases"], "seed": options.seed,
        }  # fmt: skip
        if options.stream:
            began = time.monotonic()
            rows, joining, most = stream(lake, options.seed)
            result["stream"] = {
                "equal": rows.equals(Lake(lake, JOINED).scan().collect()),
                "seconds": round(time.monotonic() - began, 2),
                "most_state_rows": most,
                "join_rate": joining.tally.found / joining.tally.eligible,
            }
    millions = options.impressions // 1_000_000
    name = f"join_{millions}m.json" if millions else f"join_{options.impressions}.json"
    output = options.output or Path(__file__).parent / "results" / name
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
