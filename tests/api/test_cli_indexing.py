"""`kindred index`: builds, says what it built, and goes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from markets import ITEMS, new_market, quick_folder

from kindred.api.cli import main
from kindred.indexer.versions import IndexFolder
from kindred.schemas.workspace import Workspace


@pytest.fixture
def workspace() -> Iterator[Path]:
    """Items, and settings that need no model."""
    with quick_folder() as folder:
        new_market(folder / "w").close()
        (folder / "w" / "kindred.toml").write_text('[encoders]\nspaces = ["attributes"]\n')
        yield folder / "w"


def kindred(workspace: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(main, ["-w", str(workspace), "index", *arguments, "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_it_builds_and_says_what(workspace):
    code, built = kindred(workspace)
    assert code == 0
    assert built["active"] == ITEMS
    assert built["spaces"]["attributes"]["count"] == ITEMS
    assert IndexFolder(Workspace(workspace).index).current() == built["version"]
    shown = CliRunner().invoke(main, ["-w", str(workspace), "index"])
    assert "60 of 60 items" in shown.stdout
    assert "attributes" in shown.stdout
    assert "write points" in shown.stderr


def test_rollback_goes_to_the_version_before_and_then_there_is_none(workspace):
    first, second = kindred(workspace)[1], kindred(workspace)[1]
    assert first["version"] < second["version"]
    assert kindred(workspace, "--rollback") == (0, first)
    code, problem = kindred(workspace, "--rollback")
    assert code == 2
    assert problem["type"] == "urn:kindred:not-built"


def test_without_items_it_says_what_to_do_first(tmp_path):
    (tmp_path / "kindred.toml").write_text('[encoders]\nspaces = ["attributes"]\n')
    code, problem = kindred(tmp_path)
    assert code == 2
    assert "kindred import" in problem["detail"]
