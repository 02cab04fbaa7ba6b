"""How `exec` gets hold of a session for its command."""

from collections.abc import Awaitable, Callable

from sessioncast.client import Client
from sessioncast.confirmation import ModelChangeRequiresConfirmation
from sessioncast_shared.filters import is_uuid
from sessioncast_shared.resources import Session, StartOutcome

Decide = Callable[[ModelChangeRequiresConfirmation], Awaitable[bool]]
"""Whether the active session that a refusal describes may be replaced."""

TRIES = 5
"""Of a replacement that others are faster with."""


class ActiveSessionError(Exception):
    """The phase is held by a session that still works, and is left to it.

    Attributes:
        refusal: the server's, which describes that session.
    """

    def __init__(self, refusal: ModelChangeRequiresConfirmation) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class OtherModelError(Exception):
    """The session that would be resumed is another model's, and is left as it is.

    Attributes:
        refusal: the server's, which describes that session.
    """

    def __init__(self, refusal: ModelChangeRequiresConfirmation) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


async def find_task(client: Client, project: str, task: str) -> str:
    """Id of a task given by id or title; a title that is not there yet is created, and so is the project."""
    await client.projects.put(project)
    if is_uuid(task):
        return task
    found = await client.tasks.find(project, task)
    return (found or await client.tasks.create(project, task)).id


async def take_session(client: Client, task: str, phase: str, model: str, *, decide: Decide) -> Session:
    """A fresh session of the task's phase. One that has ended is replaced, an active one only when so decided.

    Raises:
        ActiveSessionError: an active session is in the way, and stays.
        SessionChanged: others were faster each time.
    """
    try:
        return (await client.sessions.start(task, phase, model, on_conflict="restart")).session
    except ModelChangeRequiresConfirmation as refusal:
        return (await settle(refusal, decide=decide)).session


async def settle(refusal: ModelChangeRequiresConfirmation, *, decide: Decide) -> StartOutcome:
    """Start all the same, where the session in the way has ended, or it is so decided.

    Raises:
        ActiveSessionError: it is active, and stays.
        SessionChanged: others were faster each time.
    """
    last = refusal
    for _ in range(TRIES):
        if last.existing.active and not await decide(last):
            raise ActiveSessionError(last)
        # What is confirmed is the session that was looked at; if it is another by now, it is looked at again.
        try:
            return await last.confirm()
        except ModelChangeRequiresConfirmation as another:
            last = another
    raise last
