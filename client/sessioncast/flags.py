"""Flags: switches of the server's behaviour, changed while it runs."""

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

from sessioncast.decode import decoded
from sessioncast.sender import Sender
from sessioncast_shared.resources import Flag, Page

FlagValue = Literal["on", "off"] | float
"""A number is the percentage of projects, 0 to 100."""


class Flags:
    """`client.flags`; the token needs the scope `admin`."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def list(self) -> Sequence[Flag]:
        """All of them."""
        return decoded(Page[Flag], await self._sender.send("GET", "/v1/admin/flags")).data

    async def get(self, name: str) -> Flag:
        """Read one.

        Raises:
            NotFound: there is no such flag.
        """
        return decoded(Flag, await self._sender.send("GET", _path(name)))

    async def set(self, name: str, value: FlagValue) -> Flag:
        """Turn it `on` or `off` for all, or on for a percentage of projects; effective everywhere within a second.

        Raises:
            NotFound: there is no such flag.
            Invalid: the percentage is not between 0 and 100.
            TypeError: the value is True or False, which as numbers would mean 1 % and 0 %.
        """
        if isinstance(value, bool):
            raise TypeError("say 'on', 'off' or a percentage")
        body: dict[str, Any] = (
            {"state": value} if isinstance(value, str) else {"state": "percentage", "percentage": value}
        )
        return decoded(Flag, await self._sender.send("PUT", _path(name), body=body))


def _path(name: str) -> str:
    return f"/v1/admin/flags/{quote(name, safe='')}"
