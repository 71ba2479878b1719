"""Layers import leftwards only, nothing imports in a circle, and drivers stay in their room.

Every import counts: inside functions, under TYPE_CHECKING, relative, and by a literal name given
to `import_module`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "kindred"
LAYERS = (
    "schemas", "events", "indexer", "retrieval", "rerank", "slots", "experiments", "api",
)  # fmt: skip
SCHEMAS_MAY_IMPORT = {"kindred", "msgspec", "numpy", *sys.stdlib_module_names}
ONLY_IN = {
    "qdrant_edge": {"kindred.indexer.store.edge"},
    "qdrant_client": {"kindred.indexer.store.server", "kindred.indexer.store.server_driver"},
}
"""Package -> the modules that may import it."""


@dataclass(frozen=True)
class Import:
    """`module` imports `target` (a dotted name, as far as it is a module) on `line`."""

    module: str
    target: str
    line: int


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, for a package's folder."""
    found = {}
    for file in sorted(root.rglob("*.py")):
        parts = (root.name, *file.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(root: Path) -> list[Import]:
    """Every import of every module of the package."""
    known = modules(root)
    found = []
    for module, file in known.items():
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(file.read_text(), str(file))):
            found += [Import(module, name, node.lineno) for name in _targets(node, package, known)]
    return found


def _targets(node: ast.AST, package: str, known: Iterable[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            up = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*up, base] if base else up)
        return [
            f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
            for alias in node.names
        ]
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        literal = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value
        if name in {"import_module", "__import__"} and isinstance(literal, str):
            return [literal]
    return []


def wrong_layers(root: Path) -> list[str]:
    """Imports that point to a later layer, and folders that are no layer."""
    place = {f"{root.name}.{layer}": i for i, layer in enumerate(LAYERS)}
    place[f"{root.name}.__main__"] = len(LAYERS)  # `python -m`: imports api, imported by nobody
    wrong = []
    for found in imports(root):
        ours, theirs = (".".join(n.split(".")[:2]) for n in (found.module, found.target))
        if found.module.count(".") and ours not in place:
            wrong.append(f"{found.module}: {ours} is no layer")
        elif theirs in place and (ours not in place or place[theirs] > place[ours]):
            wrong.append(f"{found.module}:{found.line} imports {found.target}")
    return wrong


def cycles(root: Path) -> list[str]:
    """Circles between modules, and between the children of a folder, each taken as a whole."""
    known = modules(root)
    edges = [(i.module, i.target) for i in imports(root) if i.target in known]
    found = _circle("modules", edges)
    for folder in {m.rpartition(".")[0] for m in known if "." in m}:
        found += _circle(
            f"children of {folder}",
            [
                (child_a, child_b)
                for a, b in edges
                if (child_a := _child(a, folder)) and (child_b := _child(b, folder))
            ],
        )
    return found


def _child(module: str, folder: str) -> str | None:
    if module == folder:
        return f"{folder}.__init__"
    if not module.startswith(folder + "."):
        return None
    return ".".join(module.split(".")[: folder.count(".") + 2])


def _circle(what: str, edges: Iterable[tuple[str, str]]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for a, b in edges:
        if a != b:
            graph.setdefault(a, set()).add(b)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"circle between {what}: " + " <- ".join(error.args[1])]
    return []


def strangers(root: Path) -> list[str]:
    """Third-party imports in schemas, and store drivers outside their adapters."""
    wrong = []
    for found in imports(root):
        top = found.target.split(".")[0]
        in_schemas = found.module.startswith(f"{root.name}.schemas")
        if in_schemas and top not in SCHEMAS_MAY_IMPORT | {root.name}:
            wrong.append(f"{found.module}:{found.line} imports {top}")
        if top in ONLY_IN and found.module not in ONLY_IN[top]:
            wrong.append(f"{found.module}:{found.line} imports {top}")
    return wrong


def test_layers_import_leftwards_only() -> None:
    assert wrong_layers(ROOT) == []


def test_nothing_imports_in_a_circle() -> None:
    assert cycles(ROOT) == []


def test_schemas_and_store_drivers_keep_to_their_room() -> None:
    assert strangers(ROOT) == []


def test_every_import_of_the_tree_is_read() -> None:
    """Guards the reader itself: an empty result would let everything pass."""
    found = imports(ROOT)
    assert Import("kindred.schemas.item", "kindred.schemas.base", _line_of_base_import()) in found
    assert {i.module.split(".")[1] for i in found if "." in i.module} >= {"schemas", "api"}


def _line_of_base_import() -> int:
    lines = (ROOT / "schemas" / "item.py").read_text().splitlines()
    return 1 + next(
        n for n, line in enumerate(lines) if line.startswith("from kindred.schemas.base")
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small sound package named kindred."""
    root = tmp_path / "kindred"
    for folder in (".", "schemas", "indexer", "indexer/store", "api"):
        (root / folder).mkdir(exist_ok=True, parents=True)
        (root / folder / "__init__.py").touch()
    (root / "schemas" / "item.py").write_text("import msgspec\n")
    (root / "indexer" / "columns.py").write_text("from kindred.schemas import item\n")
    (root / "indexer" / "store" / "edge.py").write_text(
        "import qdrant_edge\nfrom kindred.indexer.columns import Columns\n"
    )
    (root / "indexer" / "live.py").write_text("from kindred.indexer.store import edge\n")
    (root / "api" / "app.py").write_text("from ..indexer import live\n")
    return root


def faults(root: Path) -> list[str]:
    return [*wrong_layers(root), *cycles(root), *strangers(root)]


def test_a_sound_tree_passes(tree: Path) -> None:
    assert faults(tree) == []


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("schemas/item.py", "def f():\n    from kindred.indexer import columns\n", "item:2 imp"),
        ("schemas/item.py", "if TYPE_CHECKING:\n    import kindred.api.app\n", "kindred.api.app"),
        ("schemas/item.py", "from ..indexer.columns import Columns\n", "indexer.columns"),
        ("schemas/item.py", "import_module('kindred.api.app')\n", "kindred.api.app"),
        ("schemas/item.py", "import polars as pl\n", "item:1 imports polars"),
        ("schemas/other.py", "from kindred.schemas import item\n", ""),
        ("indexer/columns.py", "from kindred.indexer import live\n", "circle between modules"),
        ("indexer/columns.py", "def f():\n    from . import live\n", "circle between modules"),
        ("indexer/columns.py", "from .store import port\n", "circle between children"),
        ("indexer/live.py", "from qdrant_client.models import Filter\n", "imports qdrant_client"),
        ("indexer/live.py", "importlib.import_module('qdrant_edge')\n", "imports qdrant_edge"),
        ("helpers/x.py", "import kindred.schemas\n", "kindred.helpers is no layer"),
        ("__init__.py", "from kindred.schemas.item import Item\n", "imports kindred.schemas.item"),
    ],
)  # fmt: skip
def test_a_fault_is_found(tree: Path, file: str, text: str, says: str) -> None:
    (tree / "indexer" / "store" / "port.py").touch()
    (tree / file).parent.mkdir(exist_ok=True)
    (tree / file).write_text(text)
    found = faults(tree)
    assert any(says in fault for fault in found) if says else found == []
