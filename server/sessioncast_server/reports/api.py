"""Reports of clients over HTTP: a line in the log and a count.

They ask nothing of the store, so they get through when it is the store that clients have to complain of.
"""

import math
import time
from collections.abc import Callable

import structlog
from starlette.responses import Response

from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.problems import Problem
from sessioncast_server.reports.limiter import Limiter
from sessioncast_server.reports.requests import ClientReport
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_shared.codes import Code

_MINUTE_S = 60.0

_log = structlog.get_logger(__name__)


class ReportsApi:
    """The endpoint of reports.

    Args:
        per_minute: how many are taken of one user in a minute, by this process.
        clock: seconds, rising.
    """

    def __init__(self, metrics: Metrics, *, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._limiter = Limiter(per_minute, _MINUTE_S, clock=clock)

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        return [
            Endpoint(
                "POST",
                "/v1/client-reports",
                self.report,
                "Report what went wrong at a client, into the log",
                body=ClientReport,
                answers={204: None},
                tag="health",
            )
        ]

    async def report(self, call: Call) -> Response:
        """POST. It has no effect on anything else, so it needs no scope, and no key to be repeated.

        Raises:
            Problem: 429, when the user has reported too much within a minute.
        """
        report: ClientReport = call.body
        wait_s = self._limiter.take(call.principal.sub)
        if wait_s:
            raise Problem(429, Code.TOO_MANY, "You reported enough for a while.", retry_after=math.ceil(wait_s))
        self._metrics.client_reports.labels(report.kind).inc()
        _log.warning(
            "client report",
            user=call.principal.sub,
            session_id=report.session_id,
            kind=report.kind,
            at=report.at.isoformat(),
            heard_at=None if report.heard_at is None else report.heard_at.isoformat(),
            transport=report.transport,
            message=report.message,
        )
        return Answer(204).response(call.request_id)
