"""Projects: the boundary of data, rights and ordering."""

from urllib.parse import quote

from sessioncast.decode import decoded
from sessioncast.sender import Sender
from sessioncast_shared.resources import Project


class Projects:
    """`client.projects`."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def put(self, project: str) -> Project:
        """Create the project unless it is there; ids are of `[a-z0-9][a-z0-9-]{0,62}`."""
        return decoded(Project, await self._sender.send("PUT", f"/v1/projects/{quote(project, safe='')}"))

    async def get(self, project: str) -> Project:
        """Read it.

        Raises:
            NotFound: there is none, or it is not yours to know of.
        """
        return decoded(Project, await self._sender.send("GET", f"/v1/projects/{quote(project, safe='')}"))
