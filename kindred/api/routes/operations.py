"""Health, metrics, and the first page."""

from __future__ import annotations

from html import escape
from importlib.resources import files

import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import SkipValidation
from litestar.plugins.prometheus import PrometheusController

from kindred import __version__
from kindred.api.calls import Calls
from kindred.api.keys import needs
from kindred.api.metrics import process_metrics
from kindred.api.ports import Readiness

TAG = "operations"


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


@get(
    "/health/live",
    tags=[TAG],
    operation_id="live",
    summary="Is the process alive",
    security=[{}],
    sync_to_thread=False,
)
def live() -> Alive:
    """200 as long as the process answers at all; asks nothing of the index."""
    return Alive()


@get(
    "/health/ready",
    tags=[TAG],
    operation_id="ready",
    summary="Can the process answer questions",
    security=[{}],
    sync_to_thread=False,
    responses={
        503: ResponseSpec(Readiness, generate_examples=False, description="Not yet; see `problems`")
    },
)
def ready(calls: NamedDependency[SkipValidation[Calls]]) -> Response[Readiness]:
    """200 once an index is loaded, 503 with the reasons before."""
    state = calls.readiness()
    stuck = calls.stuck_s()
    if stuck:
        problem = f"every thread has been held by a call for {stuck:.0f} s"
        state = msgspec.structs.replace(state, ready=False, problems=[*state.problems, problem])
    return Response(state, status_code=200 if state.ready else 503)


class MetricsController(PrometheusController):
    """`/metrics`, for keys with the scope `admin` where keys are set."""

    include_in_schema = False
    guards = [needs("admin")]

    @get()
    async def get(self, calls: NamedDependency[SkipValidation[Calls]]) -> Response[bytes]:
        """Prometheus text, with the index's state as of now."""
        process_metrics().stands(calls.readiness())
        return await super().get.fn(self)  # type: ignore[no-any-return]


@get("/", include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
def index_page() -> str:
    """Links to everything there is to open in a browser."""
    page = files("kindred.api").joinpath("static", "index.html").read_text("utf-8")
    return page.replace("{{version}}", escape(__version__))
