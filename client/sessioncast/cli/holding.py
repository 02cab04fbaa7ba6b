"""How `exec` gets hold of a session for its command."""

from sessioncast.client import Client
from sessioncast.confirmation import ModelChangeRequiresConfirmation
from sessioncast_shared.filters import is_uuid
from sessioncast_shared.resources import Session

_TRIES = 5


class ActiveSessionError(Exception):
    """The phase is held by a session that still works.

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


async def take_session(client: Client, task: str, phase: str, model: str, *, replace: bool) -> Session:
    """A fresh session of the task's phase. One that has ended is replaced, an active one only with `replace`.

    Raises:
        ActiveSessionError: an active session is in the way.
    """
    confirm = None
    for _ in range(_TRIES):
        try:
            outcome = await client.sessions.start(task, phase, model, on_conflict="restart", confirm=confirm)
        except ModelChangeRequiresConfirmation as refusal:
            if refusal.existing.active and not replace:
                raise ActiveSessionError(refusal) from refusal
            # What is confirmed is the session that was looked at; if it is another by now, it is looked at again.
            confirm, last = refusal.confirmation, refusal
        else:
            return outcome.session
    raise ActiveSessionError(last)
