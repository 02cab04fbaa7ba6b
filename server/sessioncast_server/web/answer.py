"""An answer that can be kept: what was said to a change is said again to its repetition."""

from dataclasses import dataclass, field

from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers of an answer, before it belongs to one request.

    Attributes:
        body: JSON unless `headers` names another Content-Type; empty for 204 and 304.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def response(self, request_id: str) -> Response:
        """The answer to the request of that id."""
        headers = {**self.headers, "X-Request-Id": request_id}
        if self.body and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        return Response(self.body, self.status, headers)
