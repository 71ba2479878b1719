"""`kindred evaluate ranking`, assembled: graded judgments, simulated clicks, the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec

from kindred.api.joined import catalogue_rows, joined_fingerprints, read_joined
from kindred.api.joining import join_workspace
from kindred.api.market import simulate
from kindred.api.market_plan import Market, MarketPlan, prepare, settings_of
from kindred.api.material import catalogue_of
from kindred.api.times import moment_of
from kindred.events.joining import joined_until
from kindred.experiments.ranking.chorus import measure_chorus
from kindred.experiments.ranking.crossover import curve_report
from kindred.experiments.ranking.curve import MarketCurve, measure_market
from kindred.experiments.ranking.draws import CODE, Journal
from kindred.experiments.ranking.judgments import CHORUS, read_chorus
from kindred.experiments.ranking.positions import CLICKS, GROWERS, SAMPLE, measure_positions
from kindred.experiments.ranking.query_features import signals_of
from kindred.experiments.simulated import SIMULATED
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.run import encode_missing
from kindred.indexer.encoders.text import TextEncoder
from kindred.indexer.runtime import file_sha256
from kindred.rerank.judged import Parts, split_lists
from kindred.schemas.clock import DAY
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

Suite = Literal["chorus", "positions", "curve"]
SUITES: tuple[Suite, ...] = ("chorus", "positions", "curve")
MARKETS = "ranking-markets"
"""Folder of the simulated markets in the workspace."""
CURVES = "curves"
"""Folder of the draws that were judged, in a market's own"""
START, DAYS, SHOWN, EXPLORE = "2026-01-05", 14.0, 24, 0.3
"""Of a market: first moment, days, items of a list, share of lists in random order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything."""

    seeds: int = 5
    """Splits of the judged queries into folds"""
    click_seeds: int = 20
    """Draws of simulated clicks"""
    users: tuple[int, ...] = (1, 10)
    """Users who click through each query"""
    documents: int | None = None
    """Of the judged catalogue, at most; all by default"""
    markets: int = 3
    impressions: int = 1_500_000
    """Of each market"""
    draws: int = 8
    """Draws of the lists to learn from, for each market and size, at most"""
    tuned_draws: int = 1
    """Of these, those whose weights are tuned too"""
    tuned_up_to: int = 300
    """Purchases up to which they are: tuning takes thirty rankers"""
    purchases: tuple[int, ...] = (30, 100, 300, 1000)


def evaluate_ranking(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    suites: Sequence[Suite],
    data: Path,
    sizes: Sizes,
) -> dict[str, Any]:
    """The report as plain data, by suite. `data` holds the public data sets.

    InputError where a suite's data set is missing; TooLittle where markets are too small.
    """
    found: dict[str, Any] = {}
    if "chorus" in suites:
        found["chorus"] = _chorus(workspace, settings, progress, data / CHORUS, sizes)
    if "positions" in suites:
        found["positions"] = _positions(settings, progress, data / SAMPLE, sizes)
    if "curve" in suites:
        found["curve"] = _curve(workspace, settings, progress, sizes)
    return {"suite": "ranking", "notes": list(settings.notes), "suites": found}


def _chorus(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    folder: Path,
    sizes: Sizes,
) -> dict[str, Any]:
    seeds = [settings.seed + n for n in range(sizes.seeds)]
    with progress.task("read documents and judgments"):
        documents, judgments = read_chorus(folder, documents=sizes.documents, seed=settings.seed)
    items, encoder = documents.items(), TextEncoder(settings.encoders)
    cache = EncodingCache(workspace.encodings)
    try:
        with progress.task("encode documents", len(items)) as advance:
            vectors = encode_missing(items, encoder, cache, advance).vectors
    finally:
        cache.close()
    asked = encoder.encode_texts(judgments.queries)
    with progress.task("make features of queries and documents"):
        signals = signals_of(documents, judgments.queries, vectors, asked)
    with progress.task("rank by the other folds' lesson", 2 * len(seeds)) as on_seed:
        report = measure_chorus(
            judgments, signals, seeds=seeds, on_seed=on_seed, threads=_threads(settings)
        )
    return {**report, "encoder": encoder.version, "inputs": _hashes(folder)}


def _positions(
    settings: KindredSettings, progress: Progress, folder: Path, sizes: Sizes
) -> dict[str, Any]:
    seeds = [settings.seed + n for n in range(sizes.click_seeds)]
    total = len(seeds) * len(CLICKS) * len(GROWERS) * len(sizes.users)
    with progress.task("learn from simulated clicks", total) as on_seed:
        report = measure_positions(
            folder, seeds=seeds, users=sizes.users, on_seed=on_seed, threads=_threads(settings)
        )
    return {"notes": [SIMULATED], **report, "inputs": _hashes(folder)}


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _threads(settings: KindredSettings) -> int:
    return settings.representations.threads


def _curve(
    workspace: Workspace, settings: KindredSettings, progress: Progress, sizes: Sizes
) -> dict[str, Any]:
    curves: list[MarketCurve] = []
    inputs: dict[str, Any] = {}
    for seed in range(settings.seed, settings.seed + sizes.markets):
        held = simulated_market(workspace, settings, progress, sizes.impressions, seed)
        parts = parts_of(held, settings, progress)
        inputs[str(seed)] = joined_fingerprints(held)
        journal = journal_of(held, settings, inputs[str(seed)])
        total = len(sizes.purchases) * sizes.draws
        with progress.task(f"learn from few purchases of market {seed}", total) as on_fit:
            curve = measure_market(
                parts, settings.ranker, sizes.purchases, seed=seed, draws=sizes.draws,
                tuned_draws=sizes.tuned_draws, tuned_up_to=sizes.tuned_up_to, journal=journal,
                threads=_threads(settings), on_fit=on_fit,
            )  # fmt: skip
        curves.append(curve)
    return {
        "notes": [SIMULATED],
        "impressions": sizes.impressions,
        "draws": sizes.draws,
        "tuned draws": sizes.tuned_draws,
        "markets": [curve.facts for curve in curves],
        "ranker settings": msgspec.to_builtins(settings.ranker),
        **curve_report(curves, settings.seed, sizes.purchases),
        "inputs": inputs,
    }


def simulated_market(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    impressions: int,
    seed: int,
) -> Workspace:
    """The market's own workspace, simulated and joined unless it is already."""
    held = Workspace(workspace.root / MARKETS / f"{seed}-{impressions}")
    if joined_until(held.lake):
        return held
    plan = MarketPlan.of(
        impressions, None, None, days=DAYS, seed=seed, k=SHOWN, explore=EXPLORE,
        start=moment_of(START, "$.start"),
    )  # fmt: skip
    prepare(held, plan, text=False)
    own = settings_of(held, {})
    with progress.task(f"make the simulated market {seed}"):
        market = Market.make(plan)
    simulate(held, market, own, progress)
    later = plan.ends + 4 * round(DAYS * DAY) + (settings.join.purchase_days + 1) * DAY
    join_workspace(held, own, progress, now=round(later), until="now")
    return held


def journal_of(market: Workspace, settings: KindredSettings, inputs: Any) -> Journal:
    """Where draws of the market are kept: apart for other settings of the ranker."""
    learned_by = msgspec.json.encode((CODE, settings.seed, settings.ranker, inputs))
    return Journal(market.root / CURVES / sha256(learned_by).hexdigest()[:16])


def parts_of(workspace: Workspace, settings: KindredSettings, progress: Progress) -> Parts:
    """All lists of a joined market: to learn from, to stop by, to judge by."""
    with catalogue_of(workspace) as catalogue:
        rows = catalogue_rows(catalogue)
    size = 1 + int(rows["row"].to_numpy().max(initial=-1))
    log = read_joined(workspace, rows)
    with progress.task("read shown lists") as on_lists:
        return split_lists(
            log, log.shown.newest + 1, size, settings.ranker, settings.join, seed=settings.seed,
            on_lists=on_lists,
        )  # fmt: skip
