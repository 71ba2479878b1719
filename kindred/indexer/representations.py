"""The stages that learn about items (SPEC §3.3): what each is made from, in what order.

Modules first, on what is plentiful; the hybrid last, on conversions (FINN's staged training, F14).
A module whose gate fails is kept, with its card, and neither serves nor enters the hybrid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import msgspec

from kindred.indexer.behaviour.holdout import NextItem, gate_questions, without_targets
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.content import Content
from kindred.indexer.models import Artefact
from kindred.indexer.refresh import refresh_time
from kindred.indexer.runtime import check_device
from kindred.indexer.stages import Made, Stage
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings


def no_previous(_: str) -> Artefact | None:
    """Nothing to start from: trained anew."""
    return None


@dataclass(frozen=True)
class Given:
    """What every maker gets: the catalogue, and what people did before one moment."""

    content: Content
    log: Interactions
    until: int
    settings: KindredSettings
    threads: int = 0
    previous: Callable[[str], Artefact | None] = no_previous
    """The version to start from of the stage of this plain name; None: train anew."""

    def starting_from(self, previous: Callable[[str], Artefact | None]) -> Given:
        """The same with another `previous`; what is computed already is not computed again."""
        same = copy(self)
        object.__setattr__(same, "previous", previous)
        return same

    @property
    def size(self) -> int:
        """Catalogue rows."""
        return self.content.columns.size

    @cached_property
    def past(self) -> Interactions:
        """Actions that count, before `until`."""
        return self.log.before(self.until).counted(self.settings.signals)

    @cached_property
    def questions(self) -> NextItem:
        """What gates ask: the last item of the newest visits."""
        return gate_questions(self.past, self.size)

    @cached_property
    def training(self) -> Interactions:
        """`past` without the answers to the gates' questions."""
        return without_targets(self.past, self.questions)


Maker = Callable[[Given, Mapping[str, Artefact], Progress], Made]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One stage: where its maker lives, what it builds on, what it reads."""

    module: str
    """Its `make` is a Maker, its `CODE` the revision. Where the stage gives items vectors, its
    `load(artefact, others)` is what serves them, a `Learned`; `others` are the artefacts of `needs`
    that the artefact's card names."""
    needs: tuple[str, ...] = ()
    """Stages; those that are not in the run are left out."""
    reads_log: bool = False
    """Made from behaviour: as of one moment."""
    kept: bool = False
    """Kept for `refresh_days` although catalogue and events have moved."""
    starts: bool = False
    """Training starts from the version before, for `refresh_days`."""


RECIPES: Mapping[str, Recipe] = {
    "place": Recipe("kindred.indexer.places", reads_log=True),
    "words": Recipe("kindred.indexer.encoders.words", kept=True),
    "text_classifier": Recipe("kindred.indexer.encoders.text_classifier", ("words",), kept=True),
    "text_tuned": Recipe("kindred.indexer.encoders.text_tuned", reads_log=True, kept=True),
    "image_title": Recipe("kindred.indexer.encoders.image_title", ("words",), kept=True),
    "image_heads": Recipe("kindred.indexer.encoders.image_heads", kept=True),
    "air": Recipe("kindred.indexer.towers.air", reads_log=True, kept=True),
    "hybrid": Recipe(
        "kindred.indexer.towers.hybrid",
        ("als", "place", "text_classifier", "text_tuned", "image_title", "image_heads", "air"),
        reads_log=True,
        starts=True,
    ),
}
"""In the order of training. `signals` and `als` are behaviour stages, and come before these."""
SPACES: Mapping[str, str] = {
    "text_classifier": "text_classifier",
    "text_tuned": "text_tuned",
    "image_title": "shared",
    "image_heads": "visual",
    "air": "air",
    "hybrid": "hybrid",
}
"""Space of each stage that gives items vectors."""


def representation_stages(
    given: Given,
    inputs: Mapping[str, str],
    *,
    suffix: str = "",
    only: tuple[str, ...] = tuple(RECIPES),
) -> list[Stage]:
    """The stages of `settings.representations`, of those in `only`.

    `inputs` are fingerprints of catalogue, encoders and events. `suffix` is added to the names of
    what is made from behaviour, so that several moments stand side by side: those need the
    behaviour stages of the same suffix. SettingsError where there is no device as they name it.
    """
    chosen = given.settings.representations
    check_device(chosen.device)
    names = [n for n in RECIPES if n in chosen.stages and n in only]
    known = {"als", *names}
    return [_stage(name, known, given, inputs, suffix) for name in names]


def _stage(
    name: str, known: set[str], given: Given, inputs: Mapping[str, str], suffix: str
) -> Stage:
    recipe = RECIPES[name]
    needs = {n: full_name(n, suffix) for n in recipe.needs if n in known}
    own = full_name(name, suffix)
    refresh = refresh_time(given.settings)

    def make(artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
        maker: Maker = import_module(recipe.module).make
        plain = {n: artefacts[full] for n, full in needs.items()}
        start = artefacts.get(own)
        if start is None:
            return maker(given, plain, progress)
        return maker(given.starting_from({name: start}.get), plain, progress)

    read = dict(inputs)
    if recipe.reads_log:
        read["until"] = str(given.until)
    else:
        read.pop("events", None)
    return Stage(
        name=own,
        code=import_module(recipe.module).CODE,
        make=make,
        settings=_settings_of(name, given.settings),
        inputs=read,
        needs=tuple(needs.values()),
        # What is of the past serves nobody, and a past of some days ago is one, too.
        keep_for=refresh if recipe.kept or (suffix and recipe.reads_log) else 0,
        start_for=refresh if recipe.starts else 0,
    )


def full_name(name: str, suffix: str) -> str:
    """Of the stage of one moment: what is learned from content alone is the same at all."""
    from_content = name in RECIPES and not RECIPES[name].reads_log
    return name if from_content else name + suffix


def _settings_of(name: str, settings: KindredSettings) -> dict[str, Any]:
    chosen = getattr(settings.representations, name, None)
    found = {} if chosen is None else {type(chosen).__name__: msgspec.to_builtins(chosen)}
    if RECIPES[name].starts:
        found["refresh_epochs"] = settings.representations.refresh_epochs
    if RECIPES[name].reads_log:
        found["SignalSettings"] = msgspec.to_builtins(settings.signals)
    return found


def usable(artefacts: Mapping[str, Artefact]) -> dict[str, Artefact]:
    """Those whose gate passed."""
    return {name: artefact for name, artefact in artefacts.items() if artefact.card.gate.passed}
