"""Settings in part: the same limits, laid over the whole, faults told with their path."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET

from kindred.schemas.errors import InputError
from kindred.schemas.partial import overlaid, partial
from kindred.schemas.settings import BlendSettings, KindredSettings, RecallSettings


def told(kind: type, text: str) -> msgspec.Struct:
    return msgspec.json.decode(text, type=partial(kind))


def test_what_is_absent_stays_and_tables_are_merged_entry_by_entry():
    part = told(RecallSettings, '{"rrf_k": 10, "sources": {"pairs": {"quota": 5}}}')
    before = RecallSettings()
    after = overlaid(before, part, "$")
    assert after.rrf_k == 10
    assert after.sources["pairs"].quota == 5
    assert after.sources["pairs"].weight == before.sources["pairs"].weight
    others = {name for name in before.sources if name != "pairs"}
    assert all(after.sources[name] == before.sources[name] for name in others)
    assert overlaid(before, UNSET, "$") is before


def test_a_list_is_told_whole():
    part = told(BlendSettings, '{"arms": [{"b": 0, "share": 0.5}, {"b": 0.3, "share": 0.5}]}')
    assert [arm.strength for arm in overlaid(BlendSettings(), part, "$").arms] == [0, 0.3]


@pytest.mark.parametrize(
    "text", ['{"b": -1}', '{"b": "1"}', '{"bb": 1}', '{"auction": {"pool": 0}}', '{"floor": 2}']
)
def test_the_limits_are_those_of_the_settings(text: str):
    with pytest.raises(msgspec.ValidationError):
        told(BlendSettings, text)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=BlendSettings)


def test_what_does_not_go_together_is_told_with_the_path():
    part = told(BlendSettings, '{"auction": {"places": [4, 2]}}')
    with pytest.raises(InputError) as refused:
        overlaid(BlendSettings(), part, "$.settings.blend")
    assert refused.value.path == "$.settings.blend.auction"


@pytest.mark.parametrize("name", [f.name for f in msgspec.structs.fields(KindredSettings)])
def test_every_component_can_be_told_in_part_and_nothing_told_changes_nothing(name: str):
    whole = getattr(KindredSettings(), name)
    if isinstance(whole, msgspec.Struct):
        assert overlaid(whole, msgspec.json.decode(b"{}", type=partial(type(whole))), "$") == whole
