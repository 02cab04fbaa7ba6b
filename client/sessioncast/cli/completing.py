"""What the shell may complete: phases, and what there is on the server, if it answers at once."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from sessioncast.cli.connect import DEFAULT_URL, connect

if TYPE_CHECKING:  # a shell waits; it is loaded for ids only
    from sessioncast.client import Client

Choices = list[tuple[str, str]]
"""Words, and what they are."""

_PATIENCE_S = 2.0
_SHOWN = 100


def complete_phase(incomplete: str) -> list[str]:
    """The phases by their own names."""
    from sessioncast_shared.phases import Phase

    return [str(phase) for phase in Phase if phase.startswith(incomplete.lower())]


def complete_task(ctx: typer.Context, incomplete: str) -> Choices:
    """Ids of tasks."""

    async def ask(client: "Client") -> Choices:
        page = await client.tasks.list(_project(ctx), limit=_SHOWN)
        return [(task.id, task.title) for task in page.data]

    return _asked(ctx, incomplete, ask)


def complete_session(ctx: typer.Context, incomplete: str) -> Choices:
    """Ids of live sessions."""

    async def ask(client: "Client") -> Choices:
        from sessioncast.cli.present import live_sessions

        return [(one.id, f"{one.phase} {one.status}") for one in (await live_sessions(client, _project(ctx)))[:_SHOWN]]

    return _asked(ctx, incomplete, ask)


def _project(ctx: typer.Context) -> str:
    # Options before the word are known; arguments are not, while the option that is completed has no value yet.
    return str(ctx.params.get("project_option") or ctx.params.get("project") or "default")


def _asked(ctx: typer.Context, incomplete: str, ask: "Callable[[Client], Awaitable[Choices]]") -> Choices:
    import asyncio

    from sessioncast.errors import SessioncastError

    async def answer() -> Choices:
        url, token = ctx.params.get("url") or DEFAULT_URL, ctx.params.get("token")
        async with connect(url, token) as client, asyncio.timeout(_PATIENCE_S):
            return await ask(client)

    try:
        found = asyncio.run(answer())
    except (SessioncastError, TimeoutError, typer.BadParameter):
        return []  # a shell is no place for excuses
    return [(id_, what) for id_, what in found if id_.startswith(incomplete.lower())]
