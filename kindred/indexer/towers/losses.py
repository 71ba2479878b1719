"""What a tower learns by, over a batch of pairs (SPEC §2.2, §3.3).

In-batch softmax: each item must find its partner among the partners of the whole batch and items
drawn uniformly. Popular items stand in batches more often, so a score is corrected by the log of
how often the item is expected there (Yi et al. 2019, logQ); without that the tower learns that
popular items are wrong answers. A column is masked in a row where it is known not to be a negative:
the row's own item, its partner again, or an item of the same group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kindred.indexer.runtime import load_torch
from kindred.schemas.ranking import Doubles, Mask, Rows
from kindred.schemas.settings import TowerSettings

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 0.2
"""Of triplets, in cosine."""
LOGISTIC_NEGATIVES = (4, 3, 1)
"""By popularity to the power 0.75, of the same top category, the hardest of the batch."""
POPULARITY_POWER = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B pairs and U further items."""

    groups: Rows
    """int64[B]"""
    rows: Rows
    """int64[B]"""
    partners: Rows
    """int64[B]"""
    others: Rows
    """int64[U]: drawn uniformly"""

    @property
    def columns(self) -> Rows:
        """int64[B + U]: every item that a row may be asked to tell its partner from."""
        return np.concatenate([self.partners, self.others])

    def masked(self) -> Mask:
        """bool[B, B + U]: columns that are no negatives of a row; never its own partner."""
        columns = self.columns
        out: Mask = (columns[None, :] == self.rows[:, None]) | (
            columns[None, :] == self.partners[:, None]
        )
        out[:, : len(self.rows)] |= self.groups[None, :] == self.groups[:, None]
        out[np.arange(len(self.rows)), np.arange(len(self.rows))] = False
        return out


def expected(columns: Rows, frequency: Doubles, pairs: int, others: int, active: int) -> Doubles:
    """float64[C]: how often each item is expected among the columns of a batch."""
    chances: Doubles = pairs * frequency[columns] + others / max(active, 1)
    return chances


def softmax_loss(
    rows: Tensor,
    columns: Tensor,
    batch: Batch,
    log_expected: Doubles,
    temperature: Any,
    popularity: float,
    handicap: Tensor | float = 0.0,
) -> Tensor:
    """Mean of −log softmax of each row's partner; rows float[B, d], columns float[B + U, d]."""
    torch = load_torch()
    correction = torch.from_numpy((popularity * log_expected).astype(np.float32)).to(rows.device)
    logits = rows @ columns.T / temperature - correction - handicap
    logits = logits.masked_fill(torch.from_numpy(batch.masked()).to(rows.device), -1e9)
    own = torch.arange(len(batch.rows), device=rows.device)
    loss: Tensor = torch.nn.functional.cross_entropy(logits, own)
    return loss


def triplet_loss(rows: Tensor, columns: Tensor, batch: Batch) -> Tensor:
    """Each partner must be nearer than another row's partner by a margin, in cosine."""
    torch = load_torch()
    cosine = rows @ columns[: len(batch.rows)].T
    own = cosine.diagonal()
    shifted = np.roll(np.arange(len(batch.rows)), -1)
    other = cosine[torch.arange(len(batch.rows)), torch.from_numpy(shifted)]
    wrong = torch.from_numpy(~batch.masked()[np.arange(len(batch.rows)), shifted])
    losses = torch.relu(MARGIN - own + other) * wrong.to(rows.device)
    loss: Tensor = losses.sum() / max(int(wrong.sum()), 1)
    return loss


def logistic_loss(rows: Tensor, columns: Tensor, batch: Batch, temperature: Any) -> Tensor:
    """One positive against eight: seven of the drawn items, and the hardest of the batch.

    The drawn items are U = 7 B, seven for each row in turn.
    """
    torch = load_torch()
    count = len(batch.rows)
    softplus = torch.nn.functional.softplus
    cosine = rows @ columns[:count].T / temperature
    masked = torch.from_numpy(batch.masked()).to(rows.device)
    hardest = cosine.masked_fill(masked[:, :count], -1e9)
    hardest = hardest.masked_fill(torch.eye(count, dtype=torch.bool, device=rows.device), -1e9)
    drawn = columns[count:].reshape(count, -1, rows.shape[1])
    against = (rows.unsqueeze(1) * drawn).sum(2) / temperature
    own = torch.from_numpy(batch.others.reshape(count, -1) == batch.rows[:, None])
    against = against.masked_fill(own.to(rows.device), -1e9)
    negatives = torch.cat([against, hardest.max(dim=1, keepdim=True).values], dim=1)
    loss: Tensor = (softplus(-cosine.diagonal()) + softplus(negatives).sum(1)).mean()
    return loss


@dataclass(slots=True)
class Negatives:
    """Draws items against pairs."""

    active: Rows
    """int64[A]: rows that may be drawn"""
    frequency: Doubles
    """float64[N]"""
    category: Rows
    """int64[N]: top category, -1 unknown"""
    rng: np.random.Generator

    def beside(self, partners: Rows, settings: TowerSettings) -> Rows:
        """int64[U]: what a loss wants beside a batch of pairs."""
        if settings.loss == "logistic":
            return self.logistic(partners)
        return self.uniform(settings.negatives if settings.loss == "softmax" else 0)

    def uniform(self, count: int) -> Rows:
        """int64[count] of the active rows, all alike."""
        if not len(self.active):
            return np.zeros(0, np.int64)
        drawn: Rows = self.active[self.rng.integers(0, len(self.active), count)]
        return drawn

    def logistic(self, partners: Rows) -> Rows:
        """int64[7 B]: for each row, by popularity and of its partner's top category."""
        popular, alike, _ = LOGISTIC_NEGATIVES
        weights = self.frequency[self.active] ** POPULARITY_POWER
        edges = np.cumsum(weights / weights.sum())
        spots = np.searchsorted(edges, self.rng.random((len(partners), popular)))
        first = self.active[np.minimum(spots, len(edges) - 1)]
        return np.concatenate([first, self._alike(partners, alike)], axis=1).ravel()

    def _alike(self, partners: Rows, count: int) -> Rows:
        """int64[B, count]: of the same top category."""
        order = self.active[np.argsort(self.category[self.active], kind="stable")]
        sorted_categories = self.category[order]
        own = self.category[partners]
        low = np.searchsorted(sorted_categories, own, side="left")
        high = np.searchsorted(sorted_categories, own, side="right")
        high = np.where(high > low, high, len(order))
        low = np.where(high == len(order), np.minimum(low, len(order) - 1), low)
        spots = low[:, None] + (
            self.rng.random((len(partners), count)) * (high - low)[:, None]
        ).astype(np.int64)
        drawn: Rows = order[np.minimum(spots, len(order) - 1)]
        return drawn
