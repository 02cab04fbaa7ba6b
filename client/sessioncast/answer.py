"""What the server answered, as plain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessioncast.errors import ProblemError, ProtocolError
from sessioncast.problems import problem_error

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of the server.

    Attributes:
        headers: case does not matter when they are looked up.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def position(self) -> str | None:
        """Position of the log that it was read or written at, None where it does not tell."""
        return self.headers.get("x-position")

    def json(self) -> Any:
        """The body as a JSON value.

        Raises:
            ProtocolError: it is none.
        """
        return parsed(self.body, self.url, "an answer")

    def problem(self) -> ProblemError:
        """The refusal that this answer is."""
        return problem_of(self.status, self.headers, self.body)


def parsed(text: str | bytes, url: str, what: str) -> Any:
    """The JSON value that a text from `url` is.

    Raises:
        ProtocolError: it is none, or one that is nested too deep.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(url, f"{what} that is not JSON: {error}") from error


def problem_of(status: int, headers: Mapping[str, str], body: bytes) -> ProblemError:
    """The exception for an answer that is a refusal, also when a proxy wrote it."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = {}
    asked = headers.get("retry-after", "")
    # The other form, a date, is never sent by the server; a proxy's is treated as if there were none.
    retry_after = float(asked) if asked.isdecimal() and asked.isascii() else None
    return problem_error(status, document if isinstance(document, dict) else {}, retry_after=retry_after)
