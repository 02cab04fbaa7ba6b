"""A program with a mirror and a stream, for tests that put it to sleep: prints what it sees as lines of JSON."""

import asyncio
import json
import sys
from typing import Any

from sessioncast import Client, Event, Limits

_LIMITS = Limits(attempt_s=2.0, connect_s=2.0, backoff_base_s=0.02, backoff_cap_s=0.1, idle_s=2.0)


def _say(**seen: object) -> None:
    sys.stdout.write(json.dumps(seen) + "\n")
    sys.stdout.flush()


async def _main(url: str, transport: Any) -> None:
    async with Client(url, limits=_LIMITS) as client, client.live("p", transport=transport) as live:

        async def listen() -> None:
            async for item in client.subscribe("p", transport=transport, position=live.position):
                if isinstance(item, Event) and item.position:
                    _say(offset=int(item.position.partition(":")[2]))

        listening = asyncio.create_task(listen())
        async for _ in live:
            _say(sessions={id_: session.version for id_, session in live.sessions.items()})
        await listening


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
