"""kindred.toml and the environment: who wins, what is refused, and what the file explains."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from kindred.api.settings_file import load_settings, merge
from kindred.api.settings_text import (
    commented_toml,
    settings_page,
    tables,
    toml_value,
    write_settings,
)
from kindred.rerank.blend import FORMULAS
from kindred.schemas.errors import SettingsError
from kindred.schemas.settings import FORMULA_OF, KindredSettings


def written(root: Path, text: str) -> Path:
    path = root / "kindred.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_there_are_the_defaults(tmp_path: Path) -> None:
    assert load_settings(None, {}) == KindredSettings()
    assert load_settings(tmp_path / "absent.toml", {"HOME": "/"}) == KindredSettings()


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, '[api]\nport = 9000\nhost = "::1"\n[als]\nalpha = 2\n')
    settings = load_settings(path, {"KINDRED__API__PORT": "9001", "KINDRED_WORKSPACE": "x"})
    assert (settings.api.port, settings.api.host, settings.als.alpha) == (9001, "::1", 2.0)


def test_tables_merge_into_their_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "[recall.sources.pairs]\nquota = 7\n[signals.weights]\nclick = 0.5\n")
    settings = load_settings(path, {"KINDRED__RECALL__SOURCES__TEXT__QUOTA": "0"})
    defaults = KindredSettings()
    before = defaults.recall.sources
    assert settings.recall.sources["pairs"] == msgspec.structs.replace(before["pairs"], quota=7)
    assert settings.recall.sources["text"] == msgspec.structs.replace(before["text"], quota=0)
    assert settings.recall.sources["als"] == before["als"]
    assert settings.signals.weights == defaults.signals.weights | {"click": 0.5}


@pytest.mark.parametrize(
    ("told", "environ", "formula"),
    [
        ("", {}, "expected_value"),
        ("b = 0.0", {}, "power"),
        ("a = 0.2", {}, "expected_value"),
        ("a = 0.2\nb = 0.2", {}, "expected_value"),
        ('formula = "expected_value"\nb = 0.2', {}, "expected_value"),
        ('formula = "power"', {}, "power"),
        ("", {"KINDRED__BLEND__B": "0.25"}, "power"),
        ("b = 0.2", {"KINDRED__BLEND__A": "0.25"}, "expected_value"),
        ("b = 0.2", {"KINDRED__BLEND__FLOOR": "0.1"}, "power"),
    ],
)
def test_a_strength_told_alone_names_the_formula_that_it_is_of(
    tmp_path: Path, told: str, environ: dict[str, str], formula: str
) -> None:
    settings = load_settings(written(tmp_path, f"[blend]\n{told}\n"), environ)
    assert settings.blend.formula == formula


def test_each_formula_has_the_strength_that_its_settings_name() -> None:
    assert set(FORMULAS) == set(FORMULA_OF.values())


def test_lists_and_tables_in_the_environment_are_json() -> None:
    keys = '{"shop": {"sha256": "' + "a" * 64 + '", "scopes": ["read", "write"]}}'
    settings = load_settings(None, {"KINDRED__API__KEYS": keys, "KINDRED__NOTES": '["a", "b"]'})
    assert settings.api.keys["shop"].scopes == ("read", "write")
    assert settings.notes == ("a", "b")
    assert load_settings(None, {"KINDRED__API__KEYS__SHOP__SHA256": "b" * 64}).api.keys["shop"]


def test_words_numbers_and_switches_in_the_environment_take_their_fields_types() -> None:
    settings = load_settings(
        None,
        {
            "KINDRED__STORE__API_KEY": "123",
            "KINDRED__ENCODERS__IMAGE__ALLOW_PRIVATE_HOSTS": "true",
            "KINDRED__BLEND__B": "0.5",
        },
    )
    assert settings.store.api_key == "123"
    assert settings.encoders.image.allow_private_hosts is True
    assert settings.blend.b == 0.5


@pytest.mark.parametrize(
    ("text", "environ", "message"),
    [
        ("[api]\nprot = 1\n", {}, r"kindred.toml: .*unknown field `prot` - at `\$.api`"),
        ("[api]\nport = 70000\n", {}, r"<= 65535 - at `\$.api.port`"),
        ('[api]\nport = "9000"\n', {}, r"got `str` - at `\$.api.port`"),
        ("[recall.sources.text]\nquota = -1\n", {}, r"at `\$.recall.sources"),
        ("port = ", {}, "kindred.toml"),
        ("", {"KINDRED__API__PROT": "1"}, r"environment.*`prot` - at `\$.api`"),
        ("", {"KINDRED__API__PORT": "x"}, r"environment.*at `\$.api.port`"),
        ("", {"KINDRED__NOTES": "[1"}, "`KINDRED__NOTES` is not JSON"),
        ("", {"KINDRED__API": "1", "KINDRED__API__PORT": "1"}, "below a value"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(
    tmp_path: Path, text: str, environ: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(written(tmp_path, text), environ)


def test_the_written_file_changes_nothing_until_a_line_is_uncommented(tmp_path: Path) -> None:
    path = tmp_path / "kindred.toml"
    write_settings(path)
    assert load_settings(path, {}) == KindredSettings()
    everything = re.sub(r"(?m)^#([a-z_0-9]+ = )", r"\1", path.read_text("utf-8"))
    written(tmp_path, everything)
    assert load_settings(path, {}) == KindredSettings()
    complete = json.loads(msgspec.json.encode(KindredSettings()))
    assert merge(tomllib.loads(everything), complete) == merge(complete, tomllib.loads(everything))


def test_chosen_settings_are_set_in_the_written_file(tmp_path: Path) -> None:
    path = tmp_path / "kindred.toml"
    write_settings(
        path, {"seed": 3, "recall": {"sources": {"text": {"quota": 1}}}, "notes": ['"é\n']}
    )
    settings = load_settings(path, {})
    assert (settings.seed, settings.notes) == (3, ('"é\n',))
    assert settings.recall.sources["text"].quota == 1


def test_every_field_is_explained() -> None:
    bare = [f"{t.name}.{f.name}" for t in tables() for f in t.fields if not f.words]
    assert bare == []
    text = commented_toml()
    for table in tables():
        for field in table.fields:
            assert f"#{field.name} = {toml_value(field.default)}\n" in text


def test_the_page_of_settings_is_current() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
    assert page.read_text("utf-8") == settings_page(), (
        "run `python -m kindred.api.settings_text > docs/settings.md`"
    )
