"""Refusals that another session is the reason of: which one it is, and how to replace it all the same."""
# ruff: noqa: N818  named after the problems' codes, which users know them by

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from sessioncast.errors import ProblemError, SessioncastError
from sessioncast_shared.resources import StartOutcome
from sessioncast_shared.statuses import Status


class ExistingSession(BaseModel):
    """The session that is in the way of a start."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    model: dict[str, Any]
    agent: Any = None
    user: str
    status: Status
    active: bool
    created_at: AwareDatetime
    last_activity_at: AwareDatetime


class Difference(BaseModel):
    """How the wished model differs from that of the session in the way.

    Attributes:
        result: `minor` differences ask only where `treat_minor_as_change` was said, or with `restart`.
        fields: what differs: `name`, `version`, `params.<name>`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    result: Literal["same", "minor", "changed"]
    fields: tuple[str, ...] = ()


class SessionActive(ProblemError):
    """409: a live session holds the phase and the start said `reject`.

    Attributes:
        existing: that session, where the server describes it.
    """

    def __init__(self, status: int, document: dict[str, Any], *, retry_after: float | None = None) -> None:
        super().__init__(status, document, retry_after=retry_after)
        existing = document.get("existing")
        self.existing = None if existing is None else ExistingSession.model_validate(existing)


class ModelChangeRequiresConfirmation(ProblemError):
    """409: starting would replace a live session. `confirm()` does so; whoever does nothing leaves it as it is.

    Attributes:
        existing: the session that would be replaced.
        confirmation: what `confirm()` sends along; it holds for this session only.
        warning, export_url: for the person who decides, where the server tells them.
        difference: of the models, where the server tells it.
    """

    def __init__(self, status: int, document: dict[str, Any], *, retry_after: float | None = None) -> None:
        super().__init__(status, document, retry_after=retry_after)
        self.existing = ExistingSession.model_validate(document.get("existing"))
        self.confirmation: dict[str, Any] = dict(document["confirm"])
        self.warning: str | None = document.get("warning")
        difference = document.get("difference")
        self.difference = None if difference is None else Difference.model_validate(difference)
        self.export_url: str | None = document.get("export_url")
        self._confirm: Callable[[], Awaitable[StartOutcome]] | None = None
        self._export: Callable[[], Awaitable[dict[str, Any]]] | None = None

    def bind(
        self, *, confirm: Callable[[], Awaitable[StartOutcome]], export: Callable[[], Awaitable[dict[str, Any]]]
    ) -> None:
        """Say what the two calls do; the client has done so for whatever it raises."""
        self._confirm, self._export = confirm, export

    async def confirm(self) -> StartOutcome:
        """Repeat the refused start with the confirmation: the session in `existing`, and only that one, is replaced.

        Raises:
            SessionChanged: somebody was faster; it describes the session that is live now and can be confirmed, too.
            SessioncastError: whatever else a start raises; or this refusal does not come from a start.
        """
        if self._confirm is None:
            raise SessioncastError("nothing to confirm: this refusal does not come from a start of this client")
        return await self._confirm()

    async def export(self) -> dict[str, Any]:
        """Download what would be lost, as one document.

        Raises:
            SessioncastError: whatever a request raises; or this refusal does not come from a start.
        """
        if self._export is None:
            raise SessioncastError("nothing to export: this refusal does not come from a start of this client")
        return await self._export()


class SessionChanged(ModelChangeRequiresConfirmation):
    """409: what was confirmed is no longer the live session; `existing` and `confirmation` are fresh."""
