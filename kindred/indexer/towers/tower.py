"""The item tower in torch, for training (SPEC §3.3).

h_m = LayerNorm(W_m x_m) for each input m; a = softmax of v · tanh(U h_m + c) + b_m over the inputs
that the item has; z = the M · a_m · h_m side by side, with the presence bits; a linear map of z and
feed-forward layers on z, added; a unit vector. An input that is absent has a_m = 0 exactly, so
nothing of it gets through. Without the gate a_m = 1 / M for what is present, 0 for what is not.

Training does not begin at random. W_m are the principal directions of the input, the linear map
those of z, the last of the layers is zero and so are the attention's scores: the tower begins as
the inputs side by side, and what it learns is how to do better. Where pairs are few, that is what
keeps it from being worse than its inputs.

`TowerWeights` computes the same in numpy, for serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kindred.indexer.runtime import load_torch
from kindred.indexer.towers.inputs import BUCKETS, BY_ID, Inputs
from kindred.schemas.ranking import Floats, Rows
from kindred.schemas.settings import TowerSettings

if TYPE_CHECKING:
    import torch

SAMPLE = 5000
"""Items that the principal directions are taken from."""
BAG_SIZE = 32
"""Width of a word's embedding."""
DROPPED = 0.1
"""Chance that training hides an input whose own is not set."""
NORM_EPSILON = 1e-5


class Tensors:
    """`Inputs` as tensors: all items once, batches by row."""

    def __init__(self, inputs: Inputs, names: tuple[str, ...], device: str = "cpu") -> None:
        torch = load_torch()
        self.present = torch.from_numpy(
            np.stack([inputs.present[name] for name in names], axis=1)
        ).to(device)
        """bool[n, M]"""
        self.values = [
            torch.from_numpy(
                np.ascontiguousarray(
                    inputs.words[name] if name in inputs.words else inputs.vectors[name]
                )
            ).to(device)
            for name in names
        ]

    def take(self, rows: Rows) -> tuple[list[torch.Tensor], torch.Tensor]:
        """(a tensor for each input, bool[b, M])."""
        torch = load_torch()
        at = torch.from_numpy(rows).to(self.present.device)
        return [value[at] for value in self.values], self.present[at]


def make_tower(inputs: Inputs, names: tuple[str, ...], settings: TowerSettings) -> Any:
    """A fresh `ItemTower` that reads the inputs `names` of `inputs`, in this order."""
    torch = load_torch()
    nn = torch.nn

    class ItemTower(nn.Module):  # type: ignore[name-defined,misc]
        """(values, bool[n, M]) -> (float32[n, d] unit, float32[n, M] gate weights)."""

        def __init__(self) -> None:
            super().__init__()
            width = settings.input_size
            self.bags = nn.ModuleDict()
            self.projections = nn.ModuleList()
            self.norms = nn.ModuleList()
            for name in names:
                if name in inputs.words:
                    # At random: two items of one brand are alike before anything is learned.
                    self.bags[name] = nn.EmbeddingBag(BUCKETS, BAG_SIZE, mode="sum", padding_idx=0)
                    size = BAG_SIZE
                else:
                    size = inputs.vectors[name].shape[1]
                self.projections.append(nn.Linear(size, width))
                self.norms.append(nn.LayerNorm(width, eps=NORM_EPSILON))
            self.gated = settings.gate == "attention"
            if self.gated:
                self.attend = nn.Linear(width, width)
                self.score = nn.Linear(width, 1, bias=False)
                self.prior = nn.Parameter(torch.zeros(len(names)))
            size = len(names) * (width + 1)
            self.skip = nn.Linear(size, settings.embedding_size)
            sizes = [size, *settings.hidden, settings.embedding_size] if settings.hidden else []
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
            self.dropout = nn.Dropout(settings.dropout)
            chances = {str(name): chance for name, chance in settings.input_dropout.items()}
            hidden = [chances.get(name, DROPPED) for name in names]
            self.by_id = [k for k, name in enumerate(names) if name in BY_ID]
            self.register_buffer("hide", torch.tensor(hidden), persistent=False)
            self.log_temperature = nn.Parameter(torch.tensor(settings.temperature).log())

        @property
        def temperature(self) -> Any:
            """Learned, within [0.02, 0.2]."""
            return self.log_temperature.exp().clamp(0.02, 0.2)

        def gathered(self, h: Any, present: Any) -> tuple[Any, Any]:
            """(z, gate weights) of projected inputs float32[n, M, w]."""
            weights = self._weights(h, present)
            z = (len(names) * weights).unsqueeze(2) * h
            return torch.cat([z.flatten(1), present.float()], dim=1), weights

        def projected(self, values: list[Any]) -> Any:
            """float32[n, M, w]"""
            parts = []
            for name, value, project, norm in zip(
                names, values, self.projections, self.norms, strict=True
            ):
                if name in self.bags:
                    summed = self.bags[name](value)
                    value = summed / (value != 0).sum(1, keepdim=True).clamp(min=1)
                parts.append(norm(project(value)))
            return torch.stack(parts, dim=1)

        def forward(self, values: list[Any], present: Any) -> tuple[Any, Any]:
            """See the class."""
            if self.training:
                present = self._hidden(present)
            z, weights = self.gathered(self.projected(values), present)
            out = self.skip(z)
            if len(self.layers):
                for layer in self.layers[:-1]:
                    z = self.dropout(torch.relu(layer(z)))
                out = out + self.layers[-1](z)
            return nn.functional.normalize(out, dim=1), weights

        def _hidden(self, present: Any) -> Any:
            """With some inputs hidden; an item keeps what it has where all would go."""
            drawn = torch.rand(present.shape, device=present.device)
            # What is known of an item by its id is known or unknown together.
            drawn[:, self.by_id] = drawn[:, self.by_id][:, :1]
            kept = present & (drawn >= self.hide)
            return torch.where(kept.any(1, keepdim=True), kept, present)

        def _weights(self, h: Any, present: Any) -> Any:
            if not self.gated:
                return present.float() / len(names)
            scores = self.score(torch.tanh(self.attend(h))).squeeze(2) + self.prior
            scores = scores.masked_fill(~present, -torch.inf)
            return torch.nan_to_num(scores.softmax(dim=1))

    tower = ItemTower()
    _begin(tower, inputs, names)
    return tower


def _begin(tower: Any, inputs: Inputs, names: tuple[str, ...]) -> None:
    """The weights before training: the inputs side by side (see the module)."""
    torch = load_torch()
    nn = torch.nn
    rng = np.random.default_rng(0)
    for name, project in zip(names, tower.projections, strict=True):
        nn.init.zeros_(project.bias)
        if name in inputs.words:
            nn.init.orthogonal_(project.weight)
            continue
        rows = np.flatnonzero(inputs.present[name])
        rows = rows[rng.permutation(len(rows))[:SAMPLE]]
        mean, directions = principal(inputs.vectors[name][np.sort(rows)], project.out_features)
        project.weight.data = torch.from_numpy(directions)
        project.bias.data = torch.from_numpy(-(directions @ mean))
    if tower.gated:
        nn.init.zeros_(tower.score.weight)
    rows = np.sort(rng.permutation(len(inputs))[:SAMPLE])
    with torch.no_grad():
        tower.eval()
        values, present = Tensors(inputs.take(rows), names).take(np.arange(len(rows)))
        z, _ = tower.gathered(tower.projected(values), present)
        z = z[present.any(1), : -len(names)].numpy()
        mean, directions = principal(z, tower.skip.out_features)
        nn.init.zeros_(tower.skip.weight)
        tower.skip.weight[:, : -len(names)] = torch.from_numpy(directions)
        tower.skip.bias.data = torch.from_numpy(-(directions @ mean))
    if len(tower.layers):
        nn.init.zeros_(tower.layers[-1].weight)
        nn.init.zeros_(tower.layers[-1].bias)


def principal(values: Floats, count: int) -> tuple[Floats, Floats]:
    """(mean float32[d], float32[count, d]): directions of most variance, zero past the d-th."""
    mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1], np.float32)
    centred = (values - mean).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    kept = vectors[:, ::-1][:, :count].T
    out = np.zeros((count, values.shape[1]), np.float32)
    out[: len(kept)] = kept
    return mean.astype(np.float32), out


def arrays_of(tower: Any) -> Mapping[str, np.ndarray[Any, Any]]:
    """The weights by name, as `TowerWeights` reads them."""
    return {
        name.replace(".", "_"): value.detach().cpu().numpy()
        for name, value in tower.state_dict().items()
    }
