"""A program that writes to a SQLite file in three steps, each begun by a line on its stdin, for a disk that fails.

It prints one line of JSON per step: what came of the writes, or what is in the file.
"""

import asyncio
import json
import sys
from typing import Any

from support.store import add, opened


async def main(url: str) -> None:
    """Write before, during and after the failure."""
    async with opened(url) as store:

        async def write(*titles: str) -> list[str]:
            calls = (store.database.write(add, title) for title in titles)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            return [type(outcome).__name__ for outcome in outcomes]

        async def tell(outcomes: list[str]) -> None:
            found: dict[str, Any] = {"outcomes": outcomes, "doubts": store.doubts}
            found |= {"titles": await store.titles(), "head": (await store.head()).offset}
            print(json.dumps(found), flush=True)  # noqa: T201  this is what it is for
            await asyncio.to_thread(sys.stdin.readline)

        await tell(await write("before"))
        await tell(await write("a", "b"))
        await tell(await write("after"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
