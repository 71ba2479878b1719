"""`kindred init` and `kindred keys new`: what they write works as it stands."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from kindred.api.cli import main
from kindred.api.keys import Keyring
from kindred.api.settings_file import load_settings
from kindred.schemas.settings import KindredSettings


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_init_makes_a_workspace_whose_settings_are_the_defaults(tmp_path: Path) -> None:
    root = tmp_path / "a" / "shop"
    assert "Wrote" in run("-w", str(root), "init")
    assert load_settings(root / "kindred.toml", {}) == KindredSettings()


def test_init_keeps_a_file_that_is_there_unless_it_is_forced(tmp_path: Path) -> None:
    file = tmp_path / "kindred.toml"
    file.write_text("seed = 3\n")
    assert json.loads(run("-w", str(tmp_path), "init", "--json"))["written"] is False
    assert file.read_text() == "seed = 3\n"
    assert json.loads(run("-w", str(tmp_path), "init", "--force", "--json"))["written"] is True
    assert load_settings(file, {}) == KindredSettings()


def test_init_says_why_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("a file")
    result = CliRunner().invoke(main, ["-w", str(tmp_path / "shop" / "below"), "init"])
    assert result.exit_code == 2
    assert "cannot write" in result.output


def test_a_new_key_opens_the_service_that_is_given_its_lines(tmp_path: Path) -> None:
    text = run("keys", "new", "shop", "--scope", "read", "--scope", "write")
    secret = next(line.strip() for line in text.splitlines() if "kindred_" in line)
    lines = text.partition("[api.keys.shop]")[2]
    run("-w", str(tmp_path), "init")
    with (tmp_path / "kindred.toml").open("a") as file:
        file.write("[api.keys.shop]" + lines)
    settings = load_settings(tmp_path / "kindred.toml", {})
    assert Keyring(settings.api.keys).holder(secret) == ("shop", frozenset({"read", "write"}))
    assert secret not in tomllib.loads((tmp_path / "kindred.toml").read_text())["api"]["keys"]


@pytest.mark.parametrize("name", ["a b", "", "Ä", "x" * 65])
def test_a_key_needs_a_plain_name(name: str) -> None:
    assert CliRunner().invoke(main, ["keys", "new", name]).exit_code == 2
