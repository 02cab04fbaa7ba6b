"""Models: what the sessions of a project may run with."""

from urllib.parse import quote

from sessioncast.decode import decoded
from sessioncast.sender import Sender
from sessioncast_shared.resources import Page, RegisteredModel


class Models:
    """`client.models`. A project in which none was ever registered accepts every model."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def list(self, project: str, *, limit: int | None = None, after: str | None = None) -> Page[RegisteredModel]:
        """One page of a project's registered models.

        Args:
            limit: 1 to 200.
            after: the `next` of the page before.
        """
        wishes = {"limit": limit, "after": after}
        query = [(name, str(value)) for name, value in wishes.items() if value is not None]
        return decoded(Page[RegisteredModel], await self._sender.send("GET", _path(project), query=query))

    async def register(self, project: str, name: str) -> RegisteredModel:
        """Let sessions run with a model, also with one that was deleted; a name may be anything, slashes too."""
        return decoded(RegisteredModel, await self._sender.send("PUT", _path(project, name)))

    async def delete(self, project: str, name: str) -> str | None:
        """Let no session start with it any more; its sessions stay, marked as not available.

        Returns:
            The position that the deletion is visible from.

        Raises:
            NotFound: no such model is registered.
        """
        return (await self._sender.send("DELETE", _path(project, name))).position


def _path(project: str, name: str | None = None) -> str:
    path = f"/v1/projects/{quote(project, safe='')}/models"
    return path if name is None else f"{path}/{quote(name, safe='')}"
