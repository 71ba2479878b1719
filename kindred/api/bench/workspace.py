"""The measured workspace: made, trained and indexed by the same code as any other, then kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from kindred.api.bench.market import (
    bench_settings,
    draw_market,
    write_market,
    write_text_vectors,
)
from kindred.api.settings_file import load_settings
from kindred.api.settings_text import write_settings
from kindred.api.wiring import build, train
from kindred.indexer.encoders.factory import make_encoders
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

TEXT_DIM = 384
RECIPE = 2
"""Change it when `market` changes: workspaces of another recipe are made anew."""


class Made(msgspec.Struct, frozen=True):
    """What a finished workspace says about itself."""

    items: int
    seed: int
    recipe: int = RECIPE


def prepared(
    below: Path, items: int, seed: int, now: int, progress: Progress
) -> tuple[Workspace, KindredSettings]:
    """The workspace of `items` items, made where it is missing or half made."""
    workspace = Workspace(below / f"similar-{items}")
    made, mark = Made(items, seed), workspace.root / "made.json"
    if not mark.exists() or msgspec.json.decode(mark.read_bytes(), type=Made) != made:
        shutil.rmtree(workspace.root, ignore_errors=True)
        _make(workspace, made, now, progress)
        mark.write_bytes(msgspec.json.encode(made))
    return workspace, load_settings(workspace.settings, {})


def _make(workspace: Workspace, made: Made, now: int, progress: Progress) -> None:
    workspace.root.mkdir(parents=True)
    write_settings(workspace.settings, {"seed": made.seed, **bench_settings()})
    settings = load_settings(workspace.settings, {})
    market = draw_market(made.items, made.seed)
    write_market(workspace, market, made.seed, now, progress)
    text = make_encoders(settings.encoders)["text"]
    write_text_vectors(workspace, market, text, TEXT_DIM, made.seed, now, progress)
    train(workspace, settings, progress)
    build(workspace, settings, progress)
