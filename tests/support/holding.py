"""A holder: prints into a session until it is refused, tries everything else then, and tells of each in a line."""

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

from sessioncast import Client
from sessioncast.errors import ProblemError


def tell(what: str, refused: dict[str, Any] | None = None) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps({"tried": what, "refused": refused}) + "\n")
    sys.stdout.flush()


async def hold(url: str, token: str, session: str, fence: int) -> None:
    """Print until the first refusal."""
    number = 0

    async def told(what: str, work: Awaitable[object]) -> bool:
        try:
            await work
        except ProblemError as refusal:
            tell(what, refusal.document)
            return False
        tell(what)
        return True

    async with Client(url, token=token) as client:
        sessions = client.sessions
        while await told(f"print {number + 1}", sessions.append(session, [("log", str(number + 1))], fence=fence)):
            number += 1
        await told("print without fence", sessions.append(session, [("log", "late")]))
        await told("patch", sessions.patch(session, fence=fence, status="completed"))
        await told("patch without fence", sessions.patch(session, metadata={"late": True}))
    tell("all")


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
