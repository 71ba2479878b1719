"""The OpenAPI document: Litestar's paths, msgspec's own schemas.

Litestar leaves out that unknown fields are refused, and msgspec cannot tell rules between fields;
both are put right here, so that a client or a fuzzer that reads the document meets no surprise.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    License,
    OpenAPIMediaType,
    Operation,
    Parameter,
    Reference,
    SecurityScheme,
    Tag,
)

from kindred import __version__
from kindred.api.body import EventBatch, ItemBatch, RuleBatch
from kindred.api.examples import EXAMPLES
from kindred.api.keys import SCHEME
from kindred.api.ports import ItemPage, Readiness
from kindred.api.routes.operations import Alive
from kindred.retrieval.sources import SOURCES
from kindred.schemas.event import Event
from kindred.schemas.item import Item
from kindred.schemas.outcome import BatchResult, EventResult, Problem
from kindred.schemas.preview import Preview, PreviewRequest
from kindred.schemas.query import (
    Answer,
    Filters,
    Neighbours,
    SessionRecallRequest,
    SimilarRequest,
    VisitorMerge,
)
from kindred.schemas.rule import Rule, RuleHistory, RuleList, RuleResult
from kindred.schemas.settings import RecallSettings
from kindred.schemas.why import WhyNot, WhyNotRequest

MODELS = (
    SimilarRequest, SessionRecallRequest, Answer, Neighbours, ItemBatch, BatchResult, Item,
    ItemPage, Filters, Problem, Readiness, Alive, VisitorMerge, EventBatch,
    EventResult, Event, WhyNotRequest, WhyNot, PreviewRequest, Preview,
    RuleBatch, Rule, RuleResult, RuleList, RuleHistory,
)  # fmt: skip
ASSETS = "/static/swagger-ui"
_PREFIX = "#/components/schemas/"

_TOLD: dict[str, Any] = {"not": {"type": "null"}}


def _told(*names: str) -> dict[str, Any]:
    """These fields are there and not null."""
    return {"required": list(names), "properties": dict.fromkeys(names, _TOLD)}


def _untold(*names: str) -> dict[str, Any]:
    """These fields are absent or null."""
    return {"properties": {name: {"type": "null"} for name in names}}


def _like(effect: str) -> dict[str, Any]:
    """A rule of this effect."""
    return {"properties": {"effect": {"const": effect}}}


def _unlike(effect: str) -> dict[str, Any]:
    """A rule of another effect."""
    return {"properties": {"effect": {"not": {"const": effect}}}}


_AUCTION = {"required": ["formats"], "properties": {"formats": {"contains": {"const": "auction"}}}}
RULES: dict[str, dict[str, Any]] = {
    "Location": {"anyOf": [_told("lat", "lon"), _untold("lat", "lon")]},
    "Item": {
        "allOf": [
            {"anyOf": [_untold("price_minor"), _told("currency")]},
            {"anyOf": [_untold("auction_end"), _AUCTION]},
        ]
    },
    "SimilarRequest": {"oneOf": [_told("item_id"), _told("item")]},
    "PreviewRequest": {"oneOf": [_told("request"), _told("sample")]},
    "Rule": {
        "allOf": [
            {"anyOf": [_told("place"), _unlike("pin")]},
            {"anyOf": [_untold("place"), _like("pin")]},
            {"anyOf": [_told("factor"), _unlike("boost")]},
            {"anyOf": [_untold("factor"), _like("boost")]},
        ]
    },
    "Event": {"anyOf": [_told("user_id"), _told("device_id"), _told("session_id")]},
    "VisitorMerge": {"anyOf": [_told("device_id"), _told("session_id")]},
    "SessionRecallRequest": {
        "anyOf": [
            {"required": ["actions"], "properties": {"actions": {"minItems": 1}}},
            _told("subject"),
        ]
    },
}
"""Rules between fields, as far as JSON Schema can say them."""


def openapi_config(*, keys: bool) -> OpenAPIConfig:
    """Title, tags, security, and Swagger UI from our own files at `/docs`."""
    scheme = SecurityScheme(
        type="http",
        scheme="bearer",
        description="A key made by `kindred keys new`; scopes: read, write, admin.",
    )
    return OpenAPIConfig(
        title="Kindred",
        version=__version__,
        summary="Finds kindred items.",
        description="Similar items, session recall and neighbours over one catalogue. Failures are "
        "`application/problem+json` with the path of the field at fault.",
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        path="/docs",
        use_handler_docstrings=True,
        tags=[
            Tag(name="answers", description="The questions that Kindred answers."),
            Tag(
                name="rules",
                description="What merchandisers want otherwise: pin, boost, bury, exclude.",
            ),
            Tag(
                name="reasons",
                description="Why answers are as they are, and how else they might be.",
            ),
            Tag(name="catalogue", description="The items."),
            Tag(name="events", description="What people do."),
            Tag(name="operations", description="Health."),
        ],
        components=Components(security_schemes={SCHEME: scheme} if keys else {}),
        security=[{SCHEME: []}] if keys else None,
        render_plugins=[
            SwaggerRenderPlugin(
                path="/",
                js_url=f"{ASSETS}/swagger-ui-bundle.js",
                css_url=f"{ASSETS}/swagger-ui.css",
                standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
                favicon='<link rel="icon" href="data:,">',
            )
        ],
    )


def make_exact(app: Litestar, max_batch: int) -> None:
    """Replace the schemas of the app's document by what the decoders really take."""
    document = app.openapi_schema
    schemas = component_schemas(max_batch)
    document.components.schemas = cast(Any, schemas)
    for path in (document.paths or {}).values():
        for operation in (path.get, path.put, path.post, path.delete):
            if operation is not None:
                _json_filters(operation)


def component_schemas(max_batch: int) -> dict[str, dict[str, Any]]:
    """JSON Schema of every Struct that crosses the HTTP border, by name."""
    _, schemas = msgspec.json.schema_components(MODELS, ref_template=_PREFIX + "{name}")
    for name, rules in RULES.items():
        schemas[name].update(rules)
    for batch, rows, row in (
        ("ItemBatch", "items", "Item"),
        ("EventBatch", "events", "Event"),
        ("RuleBatch", "rules", "Rule"),
    ):
        schemas[batch]["properties"][rows] = {
            "type": "array",
            "minItems": 1,
            "maxItems": max_batch,
            "items": {
                "anyOf": [
                    {"$ref": _PREFIX + row},
                    {"description": "Anything else comes back in `rejected`."},
                ]
            },
        }
    schemas["Item"]["properties"]["formats"]["minItems"] = 1
    for field in ("categories", "not_categories"):
        schemas["Filters"]["properties"][field]["anyOf"][0]["items"]["minItems"] = 1
    for part, field, names in (
        ("PartialRecallSettings", "sources", SOURCES),
        ("PartialRecallSettings", "relations", tuple(RecallSettings().relations)),
        ("PartialRelationSettings", "sources", SOURCES),
    ):
        schemas[part]["properties"][field]["propertyNames"] = {"enum": list(names)}
    for schema in schemas.values():
        if "enum" in schema:
            schema["type"] = "string"
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    return cast("dict[str, dict[str, Any]]", schemas)


def _json_filters(operation: Operation) -> None:
    """Say that the query parameter `filters` holds JSON."""
    for parameter in operation.parameters or []:
        if isinstance(parameter, Parameter) and parameter.name == "filters":
            parameter.schema = None
            parameter.content = {
                "application/json": OpenAPIMediaType(schema=Reference(ref=_PREFIX + "Filters"))
            }
