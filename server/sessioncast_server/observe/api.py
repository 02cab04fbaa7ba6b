"""Endpoints for those who watch the node."""

from pydantic import BaseModel
from starlette.responses import Response

from sessioncast_server.jsontext import json_bytes
from sessioncast_server.observe.health import Health
from sessioncast_server.observe.metrics import CONTENT_TYPE, Metrics
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint

_FRESH = {"Cache-Control": "no-store"}


class HealthReport(BaseModel):
    """How the node is, and why not better."""

    status: str
    reasons: list[str]


def endpoints(health: Health, metrics: Metrics) -> list[Endpoint]:
    """`/health/live`, `/health/ready` and `/metrics`."""

    async def live(call: Call) -> Response:
        return Answer(200, json_bytes({"status": "ok", "reasons": []}), _FRESH).response(call.request_id)

    async def ready(call: Call) -> Response:
        status, document = await health.ready()
        return Answer(status, json_bytes(document), _FRESH).response(call.request_id)

    async def numbers(call: Call) -> Response:
        headers = {**_FRESH, "Content-Type": CONTENT_TYPE}
        return Answer(200, metrics.render(), headers).response(call.request_id)

    return [
        Endpoint(
            "GET",
            "/health/live",
            live,
            "Whether the process answers at all",
            answers={200: HealthReport},
            tag="health",
            public=True,
        ),
        Endpoint(
            "GET",
            "/health/ready",
            ready,
            "Whether requests should be sent here",
            answers={200: HealthReport, 503: HealthReport},
            tag="health",
            public=True,
        ),
        Endpoint("GET", "/metrics", numbers, "Figures for Prometheus", answers={200: str}, tag="health", public=True),
    ]
