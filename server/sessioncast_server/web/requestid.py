"""The name of a request: in its answer, in its log lines and in its problem."""

import re
from collections.abc import Iterable
from itertools import count
from secrets import token_hex

from starlette.types import Scope

HEADER = "X-Request-Id"
RAW_HEADER = b"x-request-id"
_PROCESS = token_hex(5)  # asking the kernel for randomness at each request would cost as much as parsing it
_COUNT = count(1)
_FORM = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def choose(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that a proxy gave in X-Request-Id, if it is of an acceptable form, else a new one."""
    for name, value in headers:
        if name == RAW_HEADER and _FORM.fullmatch(value):
            return value.decode()
    return f"{_PROCESS}{next(_COUNT):06x}"


def request_id_of(scope: Scope) -> str:
    """The id of a connection; one is made where no middleware did so."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        state["request_id"] = choose(scope.get("headers", ()))
    return str(state["request_id"])
