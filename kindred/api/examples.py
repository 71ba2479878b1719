"""Examples of the OpenAPI document, by schema; a test decodes each with its own Struct."""

from __future__ import annotations

from typing import Any

_TABLE: dict[str, Any] = {
    "item_id": "table-1",
    "title": "Oak dining table, 180 cm",
    "category": ["home", "furniture", "tables"],
    "price_minor": 45_000,
    "currency": "EUR",
    "condition": "used",
    "seller_id": "seller-7",
    "location": {"lat": 59.91, "lon": 10.75},
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "Item": _TABLE,
    "ItemBatch": {"items": [_TABLE]},
    "EventBatch": {
        "events": [
            {
                "event_id": "019a9f0e-9c11-7a52-8e21-5b7d3c0f9a41",
                "occurred_at": 1_763_627_400_000_000,
                "action": "add_to_cart",
                "entity_id": "table-1",
                "user_id": "user-3",
                "session_id": "session-12",
                "decision_id": "019a9f0e-8b5c-7c3e-9d0a-3f1c2b4a5d6e",
                "position": 0,
            }
        ]
    },
    "Filters": {
        "categories": [["home", "furniture"]],
        "price_max_minor": 60_000,
        "geo": {"kind": "radius", "lat": 59.91, "lon": 10.75, "radius_m": 50_000},
    },
    "SimilarRequest": {"item_id": "table-1", "k": 6, "filters": {"price_max_minor": 60_000}},
    "VisitorMerge": {"user_id": "user-3", "device_id": "device-9"},
    "SessionRecallRequest": {
        "actions": [
            {"item_id": "table-1", "action": "view"},
            {"item_id": "chair-4", "action": "favourite"},
        ],
        "n": 100,
        "exclude_seen": True,
    },
    "RuleBatch": {
        "rules": [
            {
                "rule_id": "spring-chairs",
                "effect": "boost",
                "match": {"categories": [["home", "chairs"]]},
                "surfaces": ["view_item"],
                "ends": 1_790_000_000_000_000,
                "factor": 1.5,
                "author": "ann",
                "reason": "spring campaign",
            }
        ]
    },
    "WhyNotRequest": {"request": {"item_id": "table-1", "k": 6}, "item_id": "bench-2"},
    "PreviewRequest": {
        "request": {"item_id": "table-1", "k": 6},
        "settings": {"blend": {"a": 2.0}, "recall": {"sources": {"text": {"quota": 0}}}},
    },
    "Answer": {
        "decision_id": "019a9f0e-8b5c-7c3e-9d0a-3f1c2b4a5d6e",
        "items": [
            {
                "item_id": "chair-4",
                "position": 0,
                "score": -2.31,
                "sponsored": False,
                "probability": 0.041,
                "title": "Four oak chairs",
                "price_minor": 20_000,
                "sources": {"pairs": {"rank": 1, "score": 0.37}},
                "explain": None,
            }
        ],
        "degraded": [],
        "ms": {"recall": 3.1, "features": 1.2, "rank": 4.0, "total": 9.4},
        "versions": {"index": "20251120T083000"},
        "notes": [],
        "plan": None,
    },
    "Problem": {
        "type": "urn:kindred:invalid-request",
        "title": "The request is not valid",
        "status": 400,
        "detail": "Expected `int` <= 100 (at $.k)",
        "instance": "urn:request:4bf92f3577b34da6a3ce929d0e0e4736",
        "errors": [{"index": 0, "path": "$.k", "reason": "Expected `int` <= 100"}],
    },
}
