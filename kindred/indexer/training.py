"""The torch loop that every learned module shares: seed, device, progress, early stop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kindred.indexer.runtime import load_torch
from kindred.schemas.progress import Progress, SilentProgress
from kindred.schemas.ranking import Rows
from kindred.schemas.settings import LoopSettings

if TYPE_CHECKING:
    import torch

WARM_UP = 0.1
"""Share of the steps over which the learning rate rises; then it falls along a cosine."""


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went."""

    steps: int
    seconds: float
    losses: tuple[float, ...]
    """Mean of each epoch."""
    scores: tuple[float, ...]
    """On the development part after each epoch, where it was asked; the best one's weights stay."""

    @property
    def facts(self) -> dict[str, Any]:
        """For a card."""
        return {
            "steps": self.steps,
            "training seconds": round(self.seconds, 1),
            "loss by epoch": [round(x, 4) for x in self.losses],
            "development score by epoch": [round(x, 5) for x in self.scores],
        }


def fit(
    module: torch.nn.Module,
    count: int,
    loss_of: Callable[[Rows], torch.Tensor],
    settings: LoopSettings,
    *,
    seed: int,
    name: str,
    progress: Progress | None = None,
    score: Callable[[], float] | None = None,
) -> Trained:
    """Train `module` in place by AdamW over `count` examples, shuffled each epoch.

    `loss_of` gets int64[batch] numbers of examples and gives their mean loss. With a `score`
    (more is better) the weights of the best epoch stay, and training ends `patience` epochs after
    it. The same seed, data and number of threads give the same weights on a CPU.
    """
    torch = load_torch()
    rng = np.random.default_rng(seed)
    batches = max(1, -(-count // settings.batch_size))
    epochs = min(settings.epochs, max(1, settings.examples // max(count, 1)))
    total = batches * epochs
    optimiser = torch.optim.AdamW(
        module.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    steps = max(total, 3)  # the scheduler divides by the length of each of its two phases
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=steps, pct_start=max(WARM_UP, 2 / steps)
    )
    losses: list[float] = []
    scores: list[float] = []
    best: dict[str, Any] | None = None
    began, done = time.perf_counter(), 0
    with (progress or SilentProgress()).task(name, total) as advance:
        for _ in range(epochs):
            module.train()
            summed = 0.0
            for part in np.array_split(rng.permutation(count), batches):
                loss = loss_of(part)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimiser.step()
                rate.step()
                done += 1
                summed += float(loss.detach())
                advance(1)
            losses.append(summed / batches)
            if score is None:
                continue
            module.eval()
            scores.append(score())
            if scores[-1] >= max(scores):
                best = copy.deepcopy(module.state_dict())
            if len(scores) - 1 - int(np.argmax(scores)) >= settings.patience:
                break
    if best is not None:
        module.load_state_dict(best)
    module.eval()
    return Trained(done, time.perf_counter() - began, tuple(losses), tuple(scores))


@contextmanager
def seeded(seed: int, threads: int = 0) -> Iterator[Any]:
    """torch with its generator seeded for one training; its threads stay as they are set here."""
    torch = load_torch(threads)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield torch
