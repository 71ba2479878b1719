"""What each stage of the funnel made of one question's candidates, kept where somebody asks why.

An answer alone does not say why an item stands where it does, or why it is absent: every stage
keeps only what it passes on. A trail, given to `rerank.funnel.run`, holds the list behind each
stage and what the stage's rules took out of it. An ordinary request makes none and pays nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kindred.schemas.ranking import Candidates, Rows


@dataclass(frozen=True, slots=True)
class Step:
    """The list as one stage left it."""

    stage: str
    """What passed the list on: `merge`, `exclude`, `depth`, `rank`, `blend`, `rules`, …"""
    candidates: Candidates
    """In the stage's order, with the columns that were filled by then"""
    lost: dict[str, Rows]
    """Catalogue rows that the stage dropped, or put behind all others, by rule or condition"""

    @property
    def rows(self) -> Rows:
        """int64[n]: catalogue rows in the stage's order."""
        return self.candidates.rows

    def place(self, row: int) -> int | None:
        """Where `row` stands behind this stage, 1 = first; None where it is not in the list."""
        at = np.flatnonzero(self.rows == row)
        return int(at[0]) + 1 if len(at) else None

    def lost_to(self, row: int) -> str | None:
        """The first rule or condition of this stage that took `row` out, or back."""
        return next((name for name, rows in self.lost.items() if np.any(rows == row)), None)


@dataclass(slots=True)
class Trail:
    """What each stage of one query's funnel left, in its order."""

    steps: list[Step] = field(default_factory=list)

    def note(self, stage: str, candidates: Candidates, **lost: Rows) -> None:
        """Keep the list that `stage` passes on, and the rows that its rules took, by rule.

        Names of rules are words of the stage's own; those without rows are left out.
        """
        assert candidates.query_count == 1, "a trail is one question's"
        kept = {name: rows for name, rows in lost.items() if len(rows)}
        self.steps.append(Step(stage, candidates, kept))

    def step(self, stage: str) -> Step | None:
        """What that stage left; None where it did not run."""
        return next((step for step in self.steps if step.stage == stage), None)

    def places(self, row: int) -> dict[str, int]:
        """Place of `row` by stage, 1 = first, as far down as it was there."""
        found = {step.stage: step.place(row) for step in self.steps}
        return {stage: place for stage, place in found.items() if place is not None}
