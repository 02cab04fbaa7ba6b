"""Where the next page of a list begins, as a text that clients only hand back."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field

from sessioncast_server.problems import Problem
from sessioncast_shared.codes import Code

_MAX_LENGTH = 2000  # a name of 200 characters, each escaped in JSON, takes 1,600
_INT_MAX = 2**63 - 1


class PageQuery(BaseModel):
    """Query parameters of every list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200, description="items in a page")] = 50
    after: Annotated[str | None, Field(description="`next` of the page before")] = None


def encode(key: Sequence[str | int]) -> str:
    """The cursor for a sort key."""
    return base64.urlsafe_b64encode(orjson.dumps(list(key))).rstrip(b"=").decode()


def decode(cursor: str, *types: type[str] | type[int]) -> tuple[str | int, ...]:
    """The sort key of a cursor, with one part of each of these types.

    Integers are from 0 to 2**63 - 1; texts hold no NUL.

    Raises:
        Problem: 400 `bad_cursor`, when `encode` cannot have made it for such a key.
    """
    key = _key(cursor)
    if key is None or len(key) != len(types) or not all(map(_fits, key, types)):
        raise Problem(400, Code.BAD_CURSOR, "`after` is not the `next` of a page of this list.")
    return tuple(key)


def _key(cursor: str) -> list[str | int] | None:
    if len(cursor) > _MAX_LENGTH:
        return None
    try:
        key = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        return None
    # Only the canonical form: the same bytes that `encode` would make.
    return key if isinstance(key, list) and encode(key) == cursor else None


def _fits(part: str | int, type_: type[str] | type[int]) -> bool:
    if type(part) is not type_:
        return False
    return "\0" not in part if isinstance(part, str) else 0 <= part <= _INT_MAX
