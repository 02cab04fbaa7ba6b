"""Versions of what a project builds, each with the id that its next update resumes."""

from urllib.parse import quote

from sessioncast.decode import decoded
from sessioncast.identity import id_of
from sessioncast.sender import Sender
from sessioncast_shared.providers import ProjectVersion
from sessioncast_shared.resources import Session


class Versions:
    """`client.versions`. A version follows the head of its session's chain until a later one names the session."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def create(self, project: str, session: Session | str) -> ProjectVersion:
        """Add a version, made by a session of the project."""
        answer = await self._sender.send("POST", _path(project), body={"session_id": id_of(session)})
        return decoded(ProjectVersion, answer)

    async def latest(self, project: str) -> ProjectVersion:
        """Read the last one.

        Raises:
            NotFound: there is none yet, or no such project.
        """
        return decoded(ProjectVersion, await self._sender.send("GET", f"{_path(project)}/latest"))


def _path(project: str) -> str:
    return f"/v1/projects/{quote(project, safe='')}/versions"
