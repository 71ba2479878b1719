"""What a stranger installs and starts agrees with itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

import kindred

ROOT = Path(__file__).resolve().parents[1]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    """Canonical name -> version, of constraints.txt."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().split():
        name, _, version = line.partition("==")
        found[canonical(name)] = version
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def names(requirements: list[str]) -> set[str]:
    return {canonical(re.match(r"[\w.-]+", r)[0]) for r in requirements}  # type: ignore[index]


def test_constraints_are_plain_pins() -> None:
    """No local paths, no build tags: the file must resolve on any machine."""
    for line in (ROOT / "constraints.txt").read_text().split():
        assert re.fullmatch(r"[\w.-]+==\d[\w.]*", line), line


def test_every_dependency_is_pinned(project: dict[str, Any], pins: dict[str, str]) -> None:
    extras = [r for extra in project["optional-dependencies"].values() for r in extra]
    itself = {canonical(project["name"])}  # one extra may name another: kindred[otel]
    assert names([*project["dependencies"], *extras]) <= pins.keys() | itself


def test_every_import_is_a_declared_dependency(project: dict[str, Any]) -> None:
    """What is only there because another package brought it may be gone tomorrow."""
    optional = {e: r for e, r in project["optional-dependencies"].items() if e != "dev"}
    declared = names([*project["dependencies"], *(r for e in optional.values() for r in e)])
    owners = packages_distributions()
    undeclared = {
        f"{file.relative_to(ROOT)}: {top}"
        for file in (ROOT / "kindred").rglob("*.py")
        for top in _tops(file)
        if top not in sys.stdlib_module_names
        and top != "kindred"
        and not {canonical(d) for d in owners.get(top, [])} & declared
    }
    assert not undeclared


def _tops(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def test_one_version_everywhere(project: dict[str, Any], services: dict[str, Any]) -> None:
    version = project["version"]
    assert kindred.__version__ == version
    assert services["kindred"]["image"] == f"kindred:{version}"
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_qdrant_image_matches_the_client(
    services: dict[str, Any], pins: dict[str, str]
) -> None:
    tag = re.fullmatch(r"qdrant/qdrant:v(\d+\.\d+)\.\d+", services["qdrant"]["image"])
    assert tag
    assert tag[1] == pins["qdrant-client"].rpartition(".")[0]


def test_the_compose_file_is_valid() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*check, "compose.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_service_is_watched_bounded_and_keeps_its_data(services: dict[str, Any]) -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}, name
        assert {v.split(":")[0] for v in service["volumes"]} <= compose["volumes"].keys(), name
    assert {n for n, s in services.items() if s.get("profiles") == ["scale"]} == {"hub", "sessions"}


def test_only_the_service_is_published_and_only_on_loopback(services: dict[str, Any]) -> None:
    published = {n: s["ports"] for n, s in services.items() if "ports" in s}
    assert published.keys() == {"kindred"}
    assert all(port.startswith("127.0.0.1:") for port in published["kindred"])


def test_the_image_does_not_run_as_root() -> None:
    instructions = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines()]
    users = [words[1] for words in instructions if words[:1] == ["USER"]]
    assert users == ["kindred"]


def test_the_image_gets_what_the_package_is_built_from() -> None:
    """The context is a list of what may enter, so that no data or secret slips in."""
    allowed = (ROOT / ".dockerignore").read_text().split()
    assert allowed[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert {f"!{name}" for line in copied for name in line.split()} == {
        line for line in allowed if line.startswith("!")
    }
