"""The item tower in torch, for training (SPEC §3.3).

h_m = LayerNorm(W_m x_m) for each input m; a = softmax of v · tanh(U h_m + c) over the inputs that
the item has; z = the M · a_m · h_m side by side, with the presence bits; feed-forward layers; a
unit vector. An input that is absent has a_m = 0 exactly, so nothing of it gets through. Without
the gate a_m = 1 / M for what is present and 0 for what is not.

`TowerWeights` computes the same in numpy, for serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kindred.indexer.encoders.runtime import load_torch
from kindred.indexer.towers.inputs import BUCKETS, Inputs
from kindred.schemas.ranking import Rows
from kindred.schemas.settings import TowerSettings

if TYPE_CHECKING:
    import torch

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
                    self.bags[name] = nn.EmbeddingBag(BUCKETS, BAG_SIZE, mode="sum", padding_idx=0)
                    # A word that training never met says nothing.
                    nn.init.zeros_(self.bags[name].weight)
                    size = BAG_SIZE
                else:
                    size = inputs.vectors[name].shape[1]
                self.projections.append(nn.Linear(size, width))
                self.norms.append(nn.LayerNorm(width, eps=NORM_EPSILON))
            self.gated = settings.gate == "attention"
            if self.gated:
                self.attend = nn.Linear(width, width)
                self.score = nn.Linear(width, 1, bias=False)
            sizes = [len(names) * (width + 1), *settings.hidden, settings.embedding_size]
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
            self.dropout = nn.Dropout(settings.dropout)
            hidden = [settings.input_dropout.get(name, DROPPED) for name in names]
            self.register_buffer("hide", torch.tensor(hidden), persistent=False)
            self.log_temperature = nn.Parameter(torch.tensor(settings.temperature).log())

        @property
        def temperature(self) -> Any:
            """Learned, within [0.02, 0.2]."""
            return self.log_temperature.exp().clamp(0.02, 0.2)

        def forward(self, values: list[Any], present: Any) -> tuple[Any, Any]:
            """See the class."""
            if self.training:
                present = self._hidden(present)
            projected = []
            for name, value, project, norm in zip(
                names, values, self.projections, self.norms, strict=True
            ):
                if name in self.bags:
                    summed = self.bags[name](value)
                    value = summed / (value != 0).sum(1, keepdim=True).clamp(min=1)
                projected.append(norm(project(value)))
            h = torch.stack(projected, dim=1)
            weights = self._weights(h, present)
            z = (len(names) * weights).unsqueeze(2) * h
            z = torch.cat([z.flatten(1), present.float()], dim=1)
            for layer in self.layers[:-1]:
                z = self.dropout(torch.relu(layer(z)))
            return nn.functional.normalize(self.layers[-1](z), dim=1), weights

        def _hidden(self, present: Any) -> Any:
            """With some inputs hidden; an item keeps what it has where all would go."""
            kept = present & (torch.rand(present.shape, device=present.device) >= self.hide)
            return torch.where(kept.any(1, keepdim=True), kept, present)

        def _weights(self, h: Any, present: Any) -> Any:
            if not self.gated:
                return present.float() / len(names)
            scores = self.score(torch.tanh(self.attend(h))).squeeze(2)
            scores = scores.masked_fill(~present, -torch.inf)
            return torch.nan_to_num(scores.softmax(dim=1))

    return ItemTower()


def arrays_of(tower: Any) -> Mapping[str, np.ndarray[Any, Any]]:
    """The weights by name, as `TowerWeights` reads them."""
    return {
        name.replace(".", "_"): value.detach().cpu().numpy()
        for name, value in tower.state_dict().items()
    }
