"""A market with an index, made once for all tests that change a copy of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from markets import Market, copied, new_market, quick_folder


@pytest.fixture(scope="session")
def built() -> Iterator[Market]:
    """Never changed itself: see `market`."""
    with quick_folder() as folder:
        market = new_market(folder / "w")
        market.build()
        yield market
        market.close()


@pytest.fixture
def market(built: Market) -> Iterator[Market]:
    """A copy of `built`, to be changed."""
    with quick_folder() as folder:
        market = copied(built, folder / "w")
        yield market
        market.close()
