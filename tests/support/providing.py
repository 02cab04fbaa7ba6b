"""Sessions to use a provider in, and what became of them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from sessioncast import Client, ProviderSession, ProviderState, Session
from support.waiting import DEADLINE_S


class Agent:
    """Something with a session of its own."""

    session_id = "its own"


async def a_session(client: Client) -> Session:
    """A new session in a new project."""
    project = f"p-{uuid4().hex}"
    await client.projects.put(project)
    task = await client.tasks.create(project, "T")
    return (await client.sessions.start(task.id, "run", "m")).session


def given(name: str) -> str:
    """An id that a provider gives out; it belongs to one session of the server, for ever."""
    return f"{name}-{uuid4().hex}"


async def rows(client: Client, session: Session | str) -> list[ProviderSession]:
    """All of the session's provider sessions."""
    return (await client.providers.chain(session, limit=200)).data


async def newest_id(client: Client, session: Session | str) -> str | None:
    """What the next resume is decided about."""
    head = (await client.providers.chain(session)).head
    return None if head is None else head.provider_session_id


async def closed(client: Client, session: Session | str, row: int | str) -> list[ProviderSession]:
    """All of the session's provider sessions, once one of them (by its place, or its id) is open no more."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await rows(client, session)
            watched = [one for place, one in enumerate(found) if row in (place, one.id)]
            if watched and watched[0].state is not ProviderState.OPEN:
                return found
            await asyncio.sleep(0.1)  # leases are seconds long, and asking costs something


@asynccontextmanager
async def script(text: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program of its own, whose output can be read; killed at the end if it still runs."""
    command: Sequence[str] = (sys.executable, "-c", text, *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, text: str) -> None:
    """Return when a line of the program's output is this."""
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        while (line := (await process.stdout.readline()).decode()) != f"{text}\n":
            assert line, (await process.stderr.read()).decode() if process.stderr else ""
