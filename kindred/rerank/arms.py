"""Which strength of the blend orders an answer, where several are tried beside each other.

A decision's id alone settles it, evenly over ids: asked again, it is the same, and any process
comes to it. What each strength, or each formula, sells and loses can then be compared (SPEC §3.8).
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
import numpy as np

from kindred.schemas.settings import FORMULA_OF, BlendArm, BlendSettings


def drawn_arm(settings: BlendSettings, decision_id: str) -> BlendArm | None:
    """The arm of a decision; None where nothing is tried."""
    if not settings.arms:
        return None
    told = blake2b(decision_id.encode(), digest_size=8, person=b"blend-arm").digest()
    at = int.from_bytes(told, "big") / 2**64
    ends = np.cumsum([arm.share for arm in settings.arms])
    return settings.arms[min(int(np.searchsorted(ends, at, side="right")), len(ends) - 1)]


def under(settings: BlendSettings, arm: BlendArm | None) -> BlendSettings:
    """The settings with the arm's strength, and the formula whose strength it is."""
    if arm is None:
        return settings
    formula = FORMULA_OF[arm.parameter]
    return msgspec.structs.replace(settings, formula=formula, **{arm.parameter: arm.strength})


def auction_chance(decision_id: str) -> np.random.Generator:
    """What draws the auction items of a decision: its id, apart from all else that chance does."""
    told = blake2b(decision_id.encode(), digest_size=16, person=b"auction").digest()
    return np.random.default_rng(int.from_bytes(told, "big"))
