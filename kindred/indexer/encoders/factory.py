"""Encoders by settings and, for spaces that are learned, by trained modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from importlib import import_module
from threading import Lock
from typing import cast

import structlog

from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.learned import Learned, LearnedEncoder
from kindred.indexer.models import Artefact
from kindred.indexer.representations import RECIPES, SPACES
from kindred.schemas.errors import ArtefactError, VersionMismatch
from kindred.schemas.settings import EncoderSettings

Find = Callable[[str, str], Artefact]
"""(stage, version) -> what was trained; ArtefactError where it is gone or damaged."""
Modules = Callable[[Mapping[str, str]], Mapping[str, Encoder]]
"""Versions by stage -> encoders, by space, of the modules that the index holds."""


def make_encoders(settings: EncoderSettings) -> dict[str, Encoder]:
    """Space -> encoder, in the order of `settings.spaces`. Loads no model."""
    return {space: _make(space, settings) for space in settings.spaces}


def encoders_fingerprint(encoders: Mapping[str, Encoder]) -> str:
    """Hash of what base encoders there are: modules are trained on their vectors."""
    versions = "\n".join(f"{space} {encoder.version}" for space, encoder in encoders.items())
    return blake2b(versions.encode(), digest_size=8).hexdigest()


def no_modules(_: Mapping[str, str]) -> Mapping[str, Encoder]:
    """Where nothing is learned."""
    return {}


def learned_encoders(
    artefacts: Mapping[str, Artefact],
    base: Mapping[str, Encoder],
    cache: EncodingCache,
    find: Find,
) -> dict[str, LearnedEncoder]:
    """Space -> encoder of each module in `artefacts` (by stage, those in use), inputs first.

    A module reads the versions that its card names, which `find` gives where others are in use by
    now: it was trained on them. One that cannot serve (the base encoders have changed, something
    that it was made with is gone) is told in the log and left out.
    """
    made: dict[tuple[str, str], LearnedEncoder] = {}
    trained_on = encoders_fingerprint(base)

    def artefact_of(stage: str, version: str) -> Artefact:
        there = artefacts.get(stage)
        return there if there is not None and there.version == version else find(stage, version)

    def encoder_of(stage: str, version: str) -> LearnedEncoder:
        if (stage, version) in made:
            return made[stage, version]
        artefact = artefact_of(stage, version)
        if artefact.card.inputs.get("encoders", trained_on) != trained_on:
            raise VersionMismatch(
                f"{stage} {version} was trained on vectors of other encoders than those of the "
                "settings: run `kindred train`"
            )
        inputs = artefact.card.inputs
        needs = {n: inputs[n] for n in RECIPES[stage].needs if n in inputs}
        others = {name: artefact_of(name, number) for name, number in needs.items()}
        module = cast(Learned, import_module(RECIPES[stage].module).load(artefact, others))
        sources: dict[str, Encoder] = dict(base)
        for name, number in needs.items():
            if SPACES.get(name) in module.reads:
                sources[SPACES[name]] = encoder_of(name, number)
        made[stage, version] = LearnedEncoder(module, sources, cache)
        return made[stage, version]

    found: dict[str, LearnedEncoder] = {}
    for stage in (s for s in RECIPES if s in SPACES and s in artefacts):
        try:
            found[SPACES[stage]] = encoder_of(stage, artefacts[stage].version)
        except ArtefactError as error:
            _tell(stage, error)
    return found


class LearnedSpaces:
    """The `Modules` of a process: the encoders of the newest versions that it was asked for."""

    def __init__(
        self,
        base: Mapping[str, Encoder],
        cache: EncodingCache,
        find: Find,
        indexed: tuple[str, ...],
    ) -> None:
        """`indexed` are the spaces that the index is to hold."""
        self._base, self._cache, self._find, self._indexed = base, cache, find, indexed
        self._lock = Lock()
        self._made: tuple[dict[str, str], dict[str, Encoder]] = ({}, {})

    def __call__(self, models: Mapping[str, str]) -> Mapping[str, Encoder]:
        """See `Modules`; what cannot be read is told in the log and left out."""
        wanted = {stage: models[stage] for stage in SPACES if stage in models}
        with self._lock:
            if self._made[0] != wanted:
                found = learned_encoders(self._load(wanted), self._base, self._cache, self._find)
                chosen = {space: e for space, e in found.items() if space in self._indexed}
                self._made = (wanted, dict(chosen))
            return self._made[1]

    def _load(self, versions: Mapping[str, str]) -> dict[str, Artefact]:
        found = {}
        for stage, version in versions.items():
            try:
                found[stage] = self._find(stage, version)
            except ArtefactError as error:
                _tell(stage, error)
        return found


def _tell(stage: str, error: ArtefactError) -> None:
    structlog.get_logger("kindred.encoders").warning(
        "a trained module does not serve", stage=stage, reason=str(error)
    )


def _make(space: str, settings: EncoderSettings) -> Encoder:
    if space == "text":
        from kindred.indexer.encoders.text import TextEncoder

        return TextEncoder(settings)
    if space == "image":
        from kindred.indexer.encoders.image import ImageEncoder

        return ImageEncoder(settings)
    from kindred.indexer.encoders.attributes import AttributesEncoder

    return AttributesEncoder(settings.attributes)
