"""`kindred serve` as a person meets it: real processes, real signals, real HTTP on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import pytest

from kindred.api.addresses import reserve
from kindred.api.bench.client import Connection, UnexpectedAnswer, request_bytes
from kindred.api.supervisor import Parts, ServeFailed, Serving, Supervisor
from kindred.schemas.errors import SettingsError
from kindred.schemas.settings import ApiSettings, KindredSettings
from kindred.schemas.workspace import Workspace

PARTS = Parts(engine="api_engine:open_engine", builder="api_engine:open_builder")
SETTINGS = KindredSettings(api=ApiSettings(port=0, workers=2))
ALONE = KindredSettings(api=ApiSettings(port=0, workers=1))
QUESTION = {"item_id": "item-1"}


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Running:
    """A supervisor in a thread of the test."""

    def __init__(self, root: Path, settings: KindredSettings = SETTINGS) -> None:
        self.root = root
        self.supervisor = Supervisor(Workspace(root), settings, PARTS)
        self.serving: list[Serving] = []
        ready = threading.Event()

        def on_ready(serving: Serving) -> None:
            self.serving.append(serving)
            ready.set()

        self.thread = threading.Thread(target=self.supervisor.run, args=(on_ready,))
        self.thread.start()
        assert ready.wait(30)
        self.url = self.serving[0].url

    def stop(self) -> None:
        self.supervisor.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module", autouse=True)
def _tests_on_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
        yield


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for the tests that leave it running."""
    service = Running(tmp_path_factory.mktemp("workspace"))
    yield service
    service.stop()


def answering_processes(url: str) -> set[str]:
    """Names of the processes that new connections meet."""
    names = set()
    for _ in range(24):
        with suppress(OSError, UnexpectedAnswer):  # it met a process at the moment of its death
            connection = Connection(url)
            assert connection.ask(request_bytes("GET", "/health/live"))[0] == 200
            names.add(connection.served_by)
            connection.close()
    return names


def test_two_processes_answer_on_one_port_and_share_their_metrics(running: Running) -> None:
    assert running.serving == [Serving(url=running.url, workers=2, problems=[])]
    assert answering_processes(running.url) == {"w0", "w1"}
    told = 'kindred_stage_seconds_count{stage="total",use="similar"} 20.0'
    assert told not in httpx.get(f"{running.url}/metrics").text
    for _ in range(20):
        assert httpx.post(f"{running.url}/v1/similar", json=QUESTION).status_code == 200
    metrics = httpx.get(f"{running.url}/metrics").text
    assert told in metrics
    assert "kindred_ready_workers 2.0" in metrics


def test_a_killed_worker_is_started_anew_and_the_others_go_on(running: Running) -> None:
    killed = running.supervisor.pids["w0"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: running.supervisor.pids.get("w0", killed) != killed)
    until(lambda: "w0" in answering_processes(running.url))
    assert "kindred_ready_workers 2.0" in httpx.get(f"{running.url}/metrics").text


def test_a_worker_that_cannot_come_back_does_not_take_the_others_down(
    running: Running,
) -> None:
    root = running.root
    (root / "broken").touch()
    killed = running.supervisor.pids["w0"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: not alive(killed))
    begin = time.monotonic()
    while time.monotonic() - begin < 3:
        assert answering_processes(running.url) == {"w1"}
    (root / "broken").unlink()
    until(lambda: "w0" in answering_processes(running.url), 40)


def test_a_killed_builder_is_started_anew(running: Running) -> None:
    killed = running.supervisor.pids["builder"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: running.supervisor.pids.get("builder", killed) != killed)


def test_stopping_finishes_the_request_in_flight_and_closes_engines(tmp_path: Path) -> None:
    service = Running(tmp_path, ALONE)
    (tmp_path / "slow").touch()
    answers: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{service.url}/v1/similar", json=QUESTION, timeout=10)
        )
    )
    asking.start()
    time.sleep(0.4)
    service.stop()
    asking.join()
    assert [a.status_code for a in answers] == [200]
    assert (tmp_path / "closed-w0").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/health/live")


def test_nothing_starts_on_a_port_that_another_service_has(
    running: Running, tmp_path: Path
) -> None:
    port = int(running.url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=r"in use.*\$\.api\.port"):
        reserve("127.0.0.1", port)


def test_workers_that_cannot_start_end_the_service_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(ServeFailed, match="before it listened"):
        Supervisor(Workspace(tmp_path), ALONE, PARTS).run(lambda _: None)
    (tmp_path / "broken").unlink()
    (tmp_path / "wrong").touch()
    with pytest.raises(ServeFailed, match=r"wrong - at `\$.api`"):
        Supervisor(Workspace(tmp_path), ALONE, PARTS).run(lambda _: None)


SCRIPT = """
import sys
from pathlib import Path
import msgspec
from kindred.api.addresses import reserve
from kindred.api.bench.client import Connection, UnexpectedAnswer, request_bytes
from kindred.api.supervisor import Parts, Supervisor
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace
settings = msgspec.json.decode(sys.argv[2], type=KindredSettings)
parts = Parts(engine="api_engine:open_engine", builder="api_engine:open_builder")
supervisor = Supervisor(Workspace(Path(sys.argv[1])), settings, parts)
supervisor.run(lambda s: print(s.url, *supervisor.pids.values(), flush=True))
"""


def start_supervisor(root: Path) -> tuple[subprocess.Popen[str], str, list[int]]:
    """A supervisor in a process of its own; (process, url, all that it started)."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root), msgspec.json.encode(ALONE).decode()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    url, *pids = process.stdout.readline().split()
    note = root / "build.pid"
    until(lambda: note.exists() and note.read_text() != "")
    return process, url, [*(int(pid) for pid in pids), int(note.read_text())]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_and_exits_with_zero(tmp_path: Path, number: int) -> None:
    process, url, pids = start_supervisor(tmp_path)
    assert json.loads(httpx.get(f"{url}/health/ready").content)["ready"]
    process.send_signal(number)
    assert process.wait(15) == 0
    assert not any(alive(pid) for pid in pids)


def test_a_killed_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    process, _, pids = start_supervisor(tmp_path)
    assert len(pids) == 3
    process.kill()
    process.wait()
    until(lambda: not any(alive(pid) for pid in pids))
