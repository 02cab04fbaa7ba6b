"""An answer that can be kept: what was said to a change is said again to its repetition."""

from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers of an answer, before it belongs to one request.

    Attributes:
        body: JSON unless `headers` names another Content-Type; empty for 204 and 304.
        note: what whoever asked for the change wants to know of it; neither sent nor kept.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    note: Any = None

    def response(self, request_id: str) -> Response:
        """The answer to the request of that id."""
        headers = {**self.headers, "X-Request-Id": request_id}
        if self.body and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        return Response(self.body, self.status, headers)
