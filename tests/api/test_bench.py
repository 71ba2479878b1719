"""`kindred bench`: the client counts right, the synthetic market holds together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from kindred.api.bench.client import (
    Connection,
    UnexpectedAnswer,
    connections_to_all,
    request_bytes,
    requests_per_second,
)
from kindred.api.bench.market import LEAVES, STYLE, VISIT, draw_market, write_market
from kindred.api.supervisor import Parts, Serving, Supervisor
from kindred.events.contract import check_events, event_columns
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import ApiSettings, KindredSettings
from kindred.schemas.workspace import Workspace

ASK = request_bytes("POST", "/v1/similar", {"item_id": "item-1", "k": 2})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two processes that answer at once."""
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    settings = KindredSettings(api=ApiSettings(port=0, workers=2))
    supervisor = Supervisor(
        workspace, settings, Parts(engine="api_engine:open_engine", builder=None)
    )
    ready = threading.Event()
    known: list[Serving] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
        thread = threading.Thread(
            target=supervisor.run, args=(lambda s: (known.append(s), ready.set()),)
        )
        thread.start()
        assert ready.wait(30)
        yield known[0].url
        supervisor.stop()
        thread.join()


def test_a_connection_answers_again_and_again(url: str) -> None:
    connection = Connection(url)
    for _ in range(3):
        status, body = connection.ask(ASK)
        assert status == 200
        assert len(msgspec.json.decode(body)["items"]) == 2
    assert connection.ask(request_bytes("GET", "/nowhere"))[0] == 404
    assert connection.served_by in ("w0", "w1")
    connection.close()


def test_every_process_gets_its_connections(url: str) -> None:
    connections = connections_to_all(url, 2, 2)
    assert sorted(c.served_by for c in connections) == ["w0", "w0", "w1", "w1"]
    assert requests_per_second(connections, [ASK], 0.3) > 20
    assert connections[0].ask(ASK)[0] == 200
    for connection in connections:
        connection.close()


def test_a_failing_service_is_no_throughput(url: str) -> None:
    wrong = request_bytes("POST", "/v1/similar", {"item_id": "unknown"})
    connections = connections_to_all(url, 2, 1)
    with pytest.raises(UnexpectedAnswer, match="404"):
        requests_per_second(connections, [wrong], 0.3)


def test_the_market_is_a_function_of_its_size_and_seed(tmp_path: Path) -> None:
    now = 1_760_000_000_000_000
    markets = []
    for name in ("a", "b"):
        workspace = Workspace(tmp_path / name)
        workspace.root.mkdir()
        write_market(workspace, draw_market(1_000, 3), 3, now, SilentProgress())
        markets.append(workspace)
    first, second = (Lake(workspace.lake) for workspace in markets)
    assert first.fingerprint() == second.fingerprint()
    events = first.scan().collect()
    assert events.height == 1_000 * VISIT
    assert check_events(event_columns(events)).height == 0
    assert events["occurred_at"].max() < now  # type: ignore[operator]
    catalogue = Catalogue.open(markets[0].catalogue)
    assert catalogue.active == 1_000
    assert catalogue.get("item-999") is not None
    catalogue.close()


def test_items_of_a_style_share_their_leaf() -> None:
    market = draw_market(5_003, 1)
    assert len(market) == 5_003
    assert market.leaf.max() < LEAVES
    same = market.style[1:] == market.style[:-1]
    assert (market.leaf[1:][same] == market.leaf[:-1][same]).all()
    assert np.bincount(market.style).max() == STYLE
