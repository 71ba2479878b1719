"""What a daily refresh need not train anew: versions that are kept, and warm starts.

The catalogue and the events move all day. What is learned from content, or from much behaviour,
says nearly the same a day later, so a version may be kept for some days; and a stage that is
trained daily may start from the version before. Neither hides anything: a version is named by what
it was made from, a kept one goes by its own key, and one with a start by a key of both.

Only what moves by itself may differ. Another setting, seed, encoder or revision of the code is
another model, and a version that has seen later events than the run may see is never taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from kindred.schemas.clock import DAY
from kindred.schemas.model import Card, Start
from kindred.schemas.settings import KindredSettings

UNTIL = "until"
"""Input that is a moment, µs: events before it were read."""
MOVING = ("catalogue", "events", UNTIL)
"""Inputs that move by themselves."""


def refresh_time(settings: KindredSettings) -> int:
    """µs for which versions are kept, or started from."""
    return round(settings.representations.refresh_days * DAY)


class Refreshed(Protocol):
    """What counts of a `Stage`."""

    @property
    def code(self) -> int:
        """Revision of the code."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it is trained with."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Fingerprint by data input."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages that it builds on."""

    @property
    def keep_for(self) -> int:
        """µs for which a version is kept."""

    @property
    def keep_refused(self) -> bool:
        """Whether a version that its gate refused is kept as long."""

    @property
    def start_for(self) -> int:
        """µs after training from nothing for which another version is started from."""


def may_be_kept(
    stage: Refreshed, card: Card, versions: Mapping[str, str], *, seed: int, now: int
) -> bool:
    """Whether a version does for a run at `now` (µs), on these versions of its needs.

    One whose gate refused it is not tried again either, unless there was nothing to train on or
    the stage says otherwise.
    """
    same = all(card.inputs.get(name) == versions[name] for name in stage.needs)
    young = 0 <= now - card.created < stage.keep_for
    return (
        young
        and same
        and (card.gate.passed or (stage.keep_refused and bool(card.files)))
        and only_data_moved(stage, card, seed=seed)
        and _moment(stage.inputs) - _moment(card.inputs) < stage.keep_for
    )


def may_be_started_from(
    stage: Refreshed,
    card: Card,
    versions: Mapping[str, str],
    *,
    steady: Collection[str],
    seed: int,
    now: int,
) -> bool:
    """Whether training may start from a version, at `now` (µs), whatever its gate said.

    Not where a `steady` stage among its needs, one that is kept for days, has been trained since:
    its vectors are others now. Not for longer than the stage's `start_for` after the last training
    from nothing.
    """
    same = all(card.inputs.get(name) == versions[name] for name in stage.needs if name in steady)
    young = 0 <= now - anew_at(card) < stage.start_for
    return young and same and bool(card.files) and only_data_moved(stage, card, seed=seed)


def only_data_moved(stage: Refreshed, card: Card, *, seed: int) -> bool:
    """Whether all else is the same, and the card's version has seen nothing after the stage's."""
    mine = {name: value for name, value in stage.inputs.items() if name not in MOVING}
    its = {
        name: value
        for name, value in card.inputs.items()
        if name not in MOVING and name not in stage.needs
    }
    return (
        (stage.code, seed) == (card.code, card.seed)
        and mine == its
        and set(stage.inputs) | set(stage.needs) == set(card.inputs)
        and _plain(stage.settings) == _plain(card.settings)
        and _moment(card.inputs) <= _moment(stage.inputs)
    )


def anew_at(card: Card) -> int:
    """When the version, or the first that it goes back to, was trained from nothing (µs)."""
    return card.created if card.start is None else card.start.anew


def start_of(card: Card, cold_key: str) -> Start:
    """What the card of a version says that starts from this one."""
    return Start(version=card.version, cold_key=cold_key, anew=anew_at(card))


def started_key(cold_key: str, start: Card) -> str:
    """Hash of what a version is made from, and of what it starts from."""
    return blake2b(f"{cold_key} from {start.key}".encode(), digest_size=16).hexdigest()


def _moment(inputs: Mapping[str, str]) -> int:
    return int(inputs.get(UNTIL, "0"))


def _plain(settings: object) -> bytes:
    return msgspec.json.encode(settings, order="sorted")
