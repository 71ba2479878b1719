"""Fixtures that every layer's tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("kindred", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("kindred")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the public data sets are not beside this checkout (../shared/data)")
    return SHARED


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """Forget a test's logging: it writes to a captured stream, which is closed afterwards."""
    yield
    if (structlog := sys.modules.get("structlog")) is not None:
        structlog.reset_defaults()
