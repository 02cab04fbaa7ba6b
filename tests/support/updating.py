"""Updates a session, again and again, and tells of every step in a line. Ends with what it was refused."""

import asyncio
import json
import sys
from typing import Any

from sessioncast import Client, Limits, Use
from sessioncast.errors import ProblemError

_PAUSE_S = 0.02
_STEPS = 4


def tell(what: str, **more: Any) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps({"what": what, **more}) + "\n")
    sys.stdout.flush()


class Updates:
    """The updates of one program.

    Args:
        name: that its ids begin with.
        ends: whether updates end; one that does not goes on telling what it uses until it is refused.
        silent: whether it never tells an id.
    """

    def __init__(self, client: Client, session: str, name: str, *, lease_s: float, ends: bool, silent: bool) -> None:
        self._client = client
        self._session = session
        self._name = name
        self._lease_s = lease_s
        self._ends = ends
        self._silent = silent
        self._number = 0

    async def once(self) -> None:
        """One update."""
        self._number += 1
        async with self._client.resumable(self._session, wait_s=60, lease_s=self._lease_s) as attempt:
            await attempt.run(self._work)
        tell("ended", row=attempt.use.id)

    async def _work(self, use: Use) -> None:
        tell("began", row=use.id, resumes=use.resume_id, fence=use.fence)
        tokens = 0
        if not self._silent:
            await self._told(use, tokens, provider_session_id=f"{self._name}-{self._number}")
        while tokens < _STEPS or not self._ends:
            await asyncio.sleep(_PAUSE_S)
            tokens += 1
            await self._told(use, tokens)

    async def _told(self, use: Use, tokens: int, **more: Any) -> None:
        try:
            await use.record(tokens=tokens, turns=1, cost_usd=tokens / 1000, **more)
        except ProblemError as refusal:
            tell("refused", row=use.id, code=refusal.code, tokens=tokens)
            await self._tried(use, provider_session_id=f"{self._name}-late")
            raise
        tell("told", row=use.id, tokens=tokens, **more)

    async def _tried(self, use: Use, provider_session_id: str) -> None:
        """Another id without the fence: as one who forgot it."""
        try:
            await self._client.providers.patch(use.id, new_provider_session_id=provider_session_id)
        except ProblemError as refusal:
            tell("refused", row=use.id, code=refusal.code, id=provider_session_id)
        else:
            tell("told", row=use.id, provider_session_id=provider_session_id)


async def main(url: str, token: str, session: str, name: str, how: str, count: str, lease_s: str) -> None:
    """So many updates, until one is refused."""
    async with Client(url, token=token, limits=Limits(backoff_cap_s=0.5)) as client:
        updates = Updates(client, session, name, lease_s=float(lease_s), ends=how == "ends", silent=how == "silent")
        for _ in range(int(count)):
            try:
                await updates.once()
            except ProblemError as refusal:
                tell("lost", code=refusal.code)
                break
    tell("done")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
