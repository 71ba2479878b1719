"""The behaviour stages: pairs, forward pairs, ALS, item history, each as of one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kindred.indexer.behaviour.als import train_als
from kindred.indexer.behaviour.history import item_history
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pairs import count_pairs
from kindred.indexer.models import Artefact
from kindred.indexer.stages import Made, Stage
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings

Maker = Callable[[Mapping[str, Artefact], Progress], Made]
CODE = 1
"""Revision of what these stages do."""
NAMES = ("pairs", "forward", "als", "history")


def behaviour_stages(
    log: Interactions,
    size: int,
    until: int,
    settings: KindredSettings,
    inputs: Mapping[str, str],
    *,
    suffix: str = "",
    threads: int = 0,
) -> list[Stage]:
    """Stages made from the actions before `until` on `size` catalogue rows.

    `suffix` is added to their names, so that several moments stand side by side.
    """
    signals = settings.signals
    past = log.before(until).counted(signals)
    told: dict[str, str] = {**inputs, "until": str(until)}

    def pairs(_: Mapping[str, Artefact], __: Progress) -> Made:
        table = count_pairs(past, size, settings.pairs)
        return Made(arrays=table.arrays(), summary=f"{len(table.rows):,} pairs")

    def forward(_: Mapping[str, Artefact], __: Progress) -> Made:
        table = count_pairs(past, size, settings.pairs, forward=True)
        return Made(arrays=table.arrays(), summary=f"{len(table.rows):,} ordered pairs")

    def als(_: Mapping[str, Artefact], progress: Progress) -> Made:
        model = train_als(
            past, size, settings.als, signals, settings.seed, threads, progress=progress
        )
        d = model.dropped
        dropped = {"users": d.users, "items": d.items, "events": d.events, "rounds": d.rounds}
        return Made(
            arrays={**model.arrays(), "unit": model.unit()},
            metrics={"dropped": dropped},
            summary=f"{int(model.present.sum()):,} items, {d.items:,} with too few events",
        )

    def history(_: Mapping[str, Artefact], __: Progress) -> Made:
        made = item_history(past, size, until, signals)
        return Made(arrays=made.arrays(), summary=f"{len(made.by_popularity):,} items with history")

    makers: dict[str, tuple[Maker, list[Any]]] = {
        "pairs": (pairs, [signals, settings.pairs]),
        "forward": (forward, [signals, settings.pairs]),
        "als": (als, [signals, settings.als]),
        "history": (history, [signals]),
    }
    return [
        Stage(
            name=name + suffix,
            code=CODE,
            make=make,
            settings=_plain(parts),
            inputs=told,
        )
        for name, (make, parts) in makers.items()
    ]


def _plain(parts: list[Any]) -> dict[str, Any]:
    return {type(part).__name__: msgspec.to_builtins(part) for part in parts}
