"""The OpenAPI document tells the truth: a fuzzer that reads it meets no surprise."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
import schemathesis
from api_engine import DictEngine
from builders import item
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from kindred.api.app import create_app
from kindred.api.body import ItemBatch, decode_items
from kindred.api.examples import EXAMPLES
from kindred.api.openapi import MODELS
from kindred.schemas.faults import in_words
from kindred.schemas.settings import ApiKey, ApiSettings, KindredSettings


def make_app() -> Any:
    engine = DictEngine()
    engine.put_items([item(item_id=f"item-{n}") for n in range(5)])
    return create_app(engine, KindredSettings())


APP = make_app()
DOCUMENT = json.loads(msgspec.json.encode(APP.openapi_schema.to_schema()))
UNSAYABLE = re.compile(
    "`south` must not exceed|`price_min_minor` must not exceed|bytes without NUL"
    "|a preview asks for|the shares of `arms`|`arms` must give|`places` must rise"
    "|a pin needs|a place is for pins|a boost needs|a factor is for boosts"
    "|at least one item or category|at least one condition|a pin names one item"
    "|`ends` must be after"
    r"|Expected `int[^`]*`, got `float`"  # JSON Schema takes 18.0 for an integer
)
"""Reasons for a 400 that JSON Schema has no words for."""

schema = schemathesis.openapi.from_asgi("/docs/openapi.json", APP)


@schema.parametrize()
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_service_does_what_its_document_says(case: Any) -> None:
    answer = case.call()
    unsayable = answer.status_code == 400 and bool(UNSAYABLE.search(answer.text))
    case.validate_response(answer, excluded_checks=[positive_data_acceptance] if unsayable else [])


def test_unknown_fields_are_documented_as_refused() -> None:
    objects = {
        name: schema
        for name, schema in DOCUMENT["components"]["schemas"].items()
        if schema.get("type") == "object"
    }
    open_ones = [name for name, found in objects.items() if found.get("additionalProperties", True)]
    assert open_ones == ["Alive"]


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert references <= set(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_examples_are_what_the_decoders_take(name: str) -> None:
    model = {struct.__name__: struct for struct in MODELS}[name]
    decoded = msgspec.json.decode(msgspec.json.encode(EXAMPLES[name]), type=model)
    if isinstance(decoded, ItemBatch):
        assert decode_items(decoded)[2] == []
    assert len(DOCUMENT["components"]["schemas"][name]["examples"]) == 1


def choices_in(schema: Any) -> list[Any]:
    """The values that a property allows, behind references, lists and alternatives.

    The names of an open table's entries are no values.
    """
    if isinstance(schema, list):
        return [value for inner in schema for value in choices_in(inner)]
    if not isinstance(schema, dict):
        return []
    if "$ref" in schema:
        behind = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return list(behind.get("enum", []))
    return list(schema.get("enum", [])) or choices_in(
        [inner for name, inner in schema.items() if name != "propertyNames"]
    )


def test_a_refused_choice_is_told_what_there_is() -> None:
    found = {
        name: choices
        for schema in DOCUMENT["components"]["schemas"].values()
        for name, told in schema.get("properties", {}).items()
        if len(choices := choices_in(told)) > 1
    }
    assert len(found) > 8
    for name, choices in found.items():
        reason = in_words(f"Invalid enum value 'x' - at `$.rows[3].{name}[0]`")[1]
        assert reason.startswith("must be one of ")
        assert set(reason.removeprefix("must be one of ").split(", ")) == set(choices), name


def test_failures_are_documented_as_problems() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if status >= "400" and not path.startswith("/health"):
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_the_bearer_scheme_is_told_when_keys_are_set() -> None:
    assert "security" not in DOCUMENT
    keys = {"shop": ApiKey(sha256="a" * 64)}
    app = create_app(DictEngine(), KindredSettings(api=ApiSettings(keys=keys)))
    document = app.openapi_schema.to_schema()
    assert document["security"] == [{"Bearer": []}]
    assert document["paths"]["/health/live"]["get"]["security"] == [{}]
    assert document["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"
