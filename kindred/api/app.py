"""The HTTP application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import as_file, files
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.plugins.prometheus import PrometheusConfig
from litestar.static_files import create_static_files_router

from kindred.api.calls import Calls
from kindred.api.keys import Keyring
from kindred.api.metrics import BUCKETS, process_metrics
from kindred.api.openapi import make_exact, openapi_config
from kindred.api.ports import Engine
from kindred.api.problems import problem_response
from kindred.api.routes import answers, events, items, operations, reasons, rules, visitors
from kindred.api.routes.paths import keep_encoded
from kindred.api.telemetry import traced
from kindred.schemas.clock import micros_now
from kindred.schemas.settings import KindredSettings

HANDLERS = (
    answers.similar, answers.session_recall, answers.neighbors, visitors.merge_visitor,
    reasons.why_not, reasons.preview,
    events.put_events,
    *items.OPTIONS, items.put_items, items.list_items, items.get_item, items.withdraw_item,
    *rules.OPTIONS, rules.put_rules, rules.list_rules, rules.remove_rule, rules.rule_changes,
    operations.live, operations.ready, operations.MetricsController, operations.index_page,
)  # fmt: skip


class KindredApp(Litestar):
    """Litestar, with every request traced, and item ids routed by their encoded form."""

    served_by = b"w0"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See Litestar."""
        if scope["type"] == "http":
            keep_encoded(scope)
            send = traced(scope, send, self.served_by)
        await super().__call__(scope, receive, send)


def create_app(
    engine: Engine,
    settings: KindredSettings,
    clock: Callable[[], int] = micros_now,
    *,
    name: str = "w0",
) -> Litestar:
    """The service around an engine; `name` is told as `x-served-by`.

    Closing the engine is up to whoever opened it.
    """
    keyring = Keyring(settings.api.keys)
    calls = Calls(
        engine,
        process_metrics(),
        deadline_ms=settings.api.deadline_ms,
        clock=clock,
        max_batch=settings.api.max_batch,
    )

    @asynccontextmanager
    async def threads(_: Litestar) -> AsyncIterator[None]:
        yield
        calls.close()

    prometheus = PrometheusConfig(
        app_name="kindred", prefix="kindred_http", group_path=True, buckets=list(BUCKETS)
    )
    app = KindredApp(
        route_handlers=[*HANDLERS, _static_files()],
        dependencies={
            "calls": Provide(lambda: calls, sync_to_thread=False),
        },
        middleware=[prometheus.middleware],
        exception_handlers={HTTPException: problem_response, Exception: problem_response},
        openapi_config=openapi_config(keys=not keyring.open),
        request_max_body_size=settings.api.max_body_bytes,
        state=State(
            {"keyring": keyring, "calls": calls, "max_body_bytes": settings.api.max_body_bytes}
        ),
        lifespan=[threads],
        logging_config=None,
    )
    app.served_by = name.encode()
    make_exact(app, settings.api.max_batch)
    return app


def _static_files() -> Router:
    """Swagger UI's own files: pages ask nothing of other hosts."""
    with as_file(files("kindred.api") / "static") as folder:
        return create_static_files_router(
            path="/static",
            directories=[folder],
            include_in_schema=False,
            name="static",
        )
