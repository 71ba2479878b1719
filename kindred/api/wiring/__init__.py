"""The only place that assembles objects: settings, catalogue, index, models -> engine, builder."""

from __future__ import annotations

from kindred.api.learning import evaluate_shown_lists, train
from kindred.api.past import evaluate_diversity, evaluate_next_item
from kindred.api.representing import evaluate_representations
from kindred.api.settings_file import load_settings
from kindred.api.wiring.building import build, index_is_fresh, open_builder
from kindred.api.wiring.models import current_models
from kindred.api.wiring.offline import Offline, open_offline
from kindred.api.wiring.serving import open_engine

__all__ = [
    "Offline",
    "build",
    "current_models",
    "evaluate_diversity",
    "evaluate_next_item",
    "evaluate_representations",
    "evaluate_shown_lists",
    "index_is_fresh",
    "load_settings",
    "open_builder",
    "open_engine",
    "open_offline",
    "train",
]
