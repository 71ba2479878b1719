"""The one door to torch and torchvision for everything that encodes or trains.

A torchvision wheel built for another torch than the one installed (a CUDA wheel beside a CPU
torch) cannot load its operators, and fails to import at all, which takes sentence-transformers,
transformers and open_clip down with it. Encoders need its transforms only, so the two missing
operators are declared (not implemented) and the import is done again.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Literal

from kindred.schemas.errors import ArtefactError, SettingsError

Precision = Literal["float32", "bfloat16"]

_MISSING = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_lock = threading.Lock()


def load_torch(threads: int = 0) -> ModuleType:
    """torch, with a torchvision beside it that imports. `threads` > 0 sets torch's threads."""
    import torch

    with _lock:
        ready_torchvision()
        if threads > 0 and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
    return torch


def check_device(device: str) -> None:
    """Raise SettingsError where torch has no such device; `cpu` is not asked for."""
    if device == "cpu":
        return
    torch = load_torch()
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n", 1)[0]
        raise SettingsError(
            f"nothing can be trained on {device!r}: {reason}", "$.representations.device"
        ) from error


def ready_torchvision() -> None:
    """Make `import torchvision` work; does nothing where it works already."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        import torch

        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in _MISSING:
            torch.library.define(f"torchvision::{operator}", _SIGNATURE)
        importlib.import_module("torchvision")


def choose_precision(
    wanted: Literal["auto", "float32", "bfloat16"], device: str, cpuinfo: Path | None = None
) -> Precision:
    """The precision of matrix products: `auto` takes bfloat16 where it is native, so fast.

    Looks at the processor's flags and not at torch, so that asking costs no import.
    """
    if wanted != "auto":
        return wanted
    if device != "cpu":
        return "bfloat16"
    path = cpuinfo or Path("/proc/cpuinfo")
    try:
        flags = path.read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "float32"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex. Raises ArtefactError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtefactError(f"cannot read {path}: {error.strerror}") from error


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below `folder`, hidden ones left out."""
    digest = hashlib.sha256()
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    for path in files:
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        digest.update(f"{relative.as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()
