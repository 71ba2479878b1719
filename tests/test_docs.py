"""What the documentation tells a reader to type works, and answers have the printed shape."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from markdown_blocks import Block, blocks, differences, documents
from small_market import small_events, small_items

from kindred.api.cli.reference import reference

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
ADDRESS = "http://127.0.0.1:8321"


ITEM_NAMED = re.compile(r'"item_id": "([^"]+)"|/v1/items/([^/"?\s]+)')


@dataclass(frozen=True)
class Served:
    """A small marketplace that was imported, trained, indexed, and is being served."""

    workspace: Path
    address: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """By the commands that the documentation names, with the items that it names."""
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("the printed commands need curl and bash")
    workspace = tmp_path_factory.mktemp("docs")
    asked = [b.text for page in PAGES for b in page_blocks(page) if b.what == "run"]
    asked = [text for text in asked if "-X PUT" not in text]
    named = [a or b for text in asked for a, b in ITEM_NAMED.findall(text)]
    names = list(dict.fromkeys([*named, *(f"other-{n}" for n in range(240))]))
    write_market(workspace, names)
    setup = [(page, b) for page in PAGES for b in page_blocks(page) if b.what == "run first"]
    assert len(setup) == 1, "one page shows how a marketplace gets in"
    page, block = setup[0]
    run(block, Served(workspace, "nowhere yet"), f"{page.name}:{block.line}", timeout_s=1200)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = workspace / "serve.log"
    with log.open("wb") as written:
        server = subprocess.Popen(
            [*KINDRED, "-w", str(workspace), "serve", "--workers", "1", "--port", str(port)],
            env=ENVIRONMENT,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address, server, log)
        yield Served(workspace, address)
    finally:
        server.terminate()
        server.wait(20)


def write_market(folder: Path, names: list[str]) -> None:
    """The small market as the two files that the README imports.

    Columns with the name of a field need no mention there.
    """
    products = ["sku,name,price,department,kind,brand,seller_id,campaign,ad_rate_bp"]
    for item in small_items(names):
        price = (item.price_minor or 0) / 100
        facts = [item.item_id, item.title, f"{price:.2f}", *item.category, item.brand]
        facts += [item.seller_id, item.campaign.value, item.ad_rate_bp]
        products.append(",".join(map(str, facts)))
    clicks = ["sku,visitor,when,what"]
    for event in small_events(names, users=300):
        when = datetime.fromtimestamp(event.occurred_at / 1e6, UTC).isoformat()
        clicks.append(f"{event.entity_id},{event.user_id},{when},{event.action.value}")
    (folder / "products.csv").write_text("\n".join(products) + "\n")
    (folder / "clicks.csv").write_text("\n".join(clicks) + "\n")


KINDRED = [str(Path(sys.executable).parent / "kindred")]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("KINDRED")},
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    # Two test processes with two threads each stand in each other's way.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # What is late is not ranked, and a busy machine is no matter of these pages.
    "KINDRED__API__DEADLINE_MS": "60000",
    # Every stage is trained, and none for long: what they are worth is no matter of these pages.
    "KINDRED__REPRESENTATIONS__AIR__LOOP__EPOCHS": "2",
    "KINDRED__REPRESENTATIONS__HYBRID__LOOP__EPOCHS": "2",
}


def wait_until_ready(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"{address}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
    pytest.fail(f"not ready in time: {log.read_text()}")


def page_blocks(page: Path) -> list[Block]:
    return blocks(page.read_text())


RUNNABLE = [page for page in PAGES if any(b.what == "run" for b in page_blocks(page))]
assert PAGES[0] in RUNNABLE, "README.md shows no command that runs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_compared_or_excused(page: Path) -> None:
    page_blocks(page)


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_a_pages_commands_work_and_answers_have_the_printed_shape(
    page: Path, served: Served
) -> None:
    last = ""
    for block in page_blocks(page):
        where = f"{page.name}:{block.line}"
        if block.what == "run":
            last = run(block, served, where)
        elif block.what == "answer":
            printed, real = documents(block.text), documents(last)
            assert len(printed) == len(real), f"{where}: {len(real)} answers came"
            found = [d for p, r in zip(printed, real, strict=True) for d in differences(p, r)]
            assert not found, f"{where}: " + "; ".join(found)


def run(block: Block, served: Served, where: str, timeout_s: float = 60) -> str:
    """Standard output of a block; fails where its exit status, or an HTTP status, is an error."""
    text = block.text.replace(ADDRESS, served.address)
    if block.language == "python":
        command = [sys.executable, "-c", text]
    else:
        prelude = 'set -euo pipefail; curl() { command curl --fail-with-body "$@"; }\n'
        command = ["bash", "-c", prelude + re.sub(r"^\$ ", "", text, flags=re.M)]
    done = subprocess.run(
        command,
        cwd=served.workspace,
        env=ENVIRONMENT | {"KINDRED_WORKSPACE": str(served.workspace)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"
    return done.stdout


def test_every_command_is_documented() -> None:
    """`make docs` writes the page."""
    assert (ROOT / "docs" / "cli.md").read_text() == reference()


def test_a_block_without_a_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="line 3: nothing says"):
        blocks("text\n\n```sh\nls\n```\n")
    with pytest.raises(ValueError, match="JSON is an answer"):
        blocks("<!-- run -->\n```json\n{}\n```\n")


def test_the_blocks_of_a_page_are_read_in_order() -> None:
    page = """
<!-- run -->
```sh
echo '{"a": 1}'
```

```mermaid
graph
```
<!-- answer -->
```json
{"a": 2}
```
<!-- skip: it takes long -->
```sh
make demo
```
"""
    assert [(b.what, b.language, b.text) for b in blocks(page)] == [
        ("run", "sh", "echo '{\"a\": 1}'\n"),
        ("answer", "json", '{"a": 2}\n'),
        ("skip", "sh", "make demo\n"),
    ]


@pytest.mark.parametrize(
    ("printed", "real", "path"),
    [
        ('{"a": 1}', '{"b": 1}', "$.a"),
        ('{"a": 1}', '{"a": 1, "b": 2}', "$.b"),
        ('{"a": 1}', '{"a": "1"}', "$.a"),
        ('{"a": true}', '{"a": 1}', "$.a"),
        ('{"items": [{"x": 1}, {"y": 2}]}', '{"items": [{"x": 5}]}', "$.items[1].y"),
        ('{"items": [{"x": 1}]}', '{"items": []}', "$.items"),
        ('{"sources": {"als": {"rank": 1}}}', '{"sources": {"text": {"place": 1}}}', "rank"),
        ('{"ms": {"recall": 1.5}}', '{"ms": {"recall": "fast"}}', "$.ms.recall"),
        ('{"a": []}', '{"a": {}}', "$.a"),
    ],
)
def test_another_shape_is_found(printed: str, real: str, path: str) -> None:
    assert any(path in d for d in differences(*documents(printed + real)))


@pytest.mark.parametrize(
    ("printed", "real"),
    [
        ('{"a": 1}', '{"a": 2.5}'),
        ('{"a": null}', '{"a": "text"}'),
        ('{"items": [{"x": 1}, {"x": 2}]}', '{"items": [{"x": 3}]}'),
        ('{"sources": {"als": {"rank": 1}}}', '{"sources": {"text": {"rank": 4}}}'),
        ('{"degraded": ["rank"]}', '{"degraded": []}'),
        ('{"plan": {"mode": "scan"}}', '{"plan": {"share": 0.5}}'),
    ],
)
def test_the_same_shape_passes(printed: str, real: str) -> None:
    assert list(differences(*documents(printed + real))) == []


def test_a_failing_command_or_request_fails_the_page(tmp_path: Path) -> None:
    nobody = Served(tmp_path, "http://127.0.0.1:9")
    for text in ("false | true", f"curl -s {ADDRESS}/v1/similar", "echo $undefined_name"):
        with pytest.raises(AssertionError, match=re.escape("README.md:1")):
            run(Block(1, "sh", "run", text), nobody, "README.md:1")
