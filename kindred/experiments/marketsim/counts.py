"""What happened in a simulated market so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.event import ACTION_CODE, Action


@dataclass(slots=True)
class Counts:
    """What happened so far."""

    visits: int = 0
    pages: int = 0
    impressions: int = 0
    clicks: int = 0
    purchases: int = 0
    actions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(64, np.int64))
    """int64 by action code"""
    shown_at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """int64 by position"""
    clicked_at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def done(self, action: Action) -> int:
        """How often an action was done."""
        return int(self.actions[ACTION_CODE[action.value]])
