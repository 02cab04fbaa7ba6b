"""Sessions: the one live attempt at a phase of a task."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from sessioncast.decode import decoded
from sessioncast.sender import Sender
from sessioncast_shared.phases import Phase
from sessioncast_shared.resources import OutputChunk, OutputRange, Page, Session, StartOutcome

OnConflict = Literal["ask", "replace", "restart", "reject"]


class Sessions:
    """`client.sessions`. A `fence`, where one is taken, is the one the session had when it was taken over."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def start(
        self,
        task: str,
        phase: Phase | str,
        model: str | Mapping[str, Any],
        *,
        agent: str | Sequence[str] | None = None,
        debug: bool = False,
        metadata: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "ask",
        confirm: Mapping[str, Any] | None = None,
        treat_minor_as_change: bool = False,
    ) -> StartOutcome:
        """Start a session, or find the one that is live.

        Args:
            model: its name, or `{"name", "version"?, "params"?}`.
            confirm: of the `ConfirmationRequired` that was answered with «yes».

        Raises:
            ConfirmationRequired: a live session would be replaced.
            SessionChanged: the one that was confirmed is not the live one any more.
            SessionActive: one is live and `on_conflict` is `reject`.
            NotFound: there is no such task.
        """
        body: dict[str, Any] = {"phase": str(phase), "on_conflict": on_conflict}
        body["model"] = {"name": model} if isinstance(model, str) else dict(model)
        wishes = {"agent": agent, "metadata": metadata, "confirm": confirm}
        body |= {name: value for name, value in wishes.items() if value is not None}
        if debug:
            body["debug"] = True
        if treat_minor_as_change:
            body["treat_minor_as_change"] = True
        answer = await self._sender.send("POST", f"/v1/tasks/{quote(task, safe='')}/sessions", body=body)
        return decoded(StartOutcome, answer)

    async def get(self, session: str) -> Session:
        """Read it; a deleted one is still read.

        Raises:
            NotFound: there is none, or it is not yours to know of.
        """
        return decoded(Session, await self._sender.send("GET", _path(session)))

    async def list(
        self, task: str, *, phase: Phase | str | None = None, debug: bool | None = None
    ) -> Sequence[Session]:
        """The live sessions of a task; at most one per phase, debug sessions apart."""
        query = [("phase", str(phase))] if phase is not None else []
        if debug is not None:
            query.append(("debug", "true" if debug else "false"))
        answer = await self._sender.send("GET", f"/v1/tasks/{quote(task, safe='')}/sessions", query=query)
        return decoded(Page[Session], answer).data

    async def patch(
        self, session: str, *, fence: int | None = None, deadline_s: float | None = None, **changes: Any
    ) -> Session:
        """Change `status`, `agent` or `metadata` (merged, RFC 7396); what is not named stays.

        Raises:
            IllegalTransition, SessionReplaced, SessionDeleted, Fenced: the session does not take it.
        """
        answer = await self._sender.send(
            "PATCH", _path(session), body=changes, headers=_fence(fence), deadline_s=deadline_s
        )
        return decoded(Session, answer)

    async def delete(self, session: str, *, fence: int | None = None) -> None:
        """Delete it softly; its output stays readable. Deleting again does nothing."""
        await self._sender.send("DELETE", _path(session), headers=_fence(fence))

    async def append(
        self,
        session: str,
        chunks: Sequence[tuple[str, str]],
        *,
        fence: int | None = None,
        deadline_s: float | None = None,
    ) -> OutputRange:
        """Append output: pairs of stream (`log`, `result`, …) and text. Recorded once, however often it is sent.

        Raises:
            SessionReplaced, SessionDeleted, Fenced: the session takes no more.
        """
        body = {"chunks": [{"stream": stream, "text": text} for stream, text in chunks]}
        answer = await self._sender.send(
            "POST", f"{_path(session)}/output", body=body, headers=_fence(fence), deadline_s=deadline_s
        )
        return decoded(OutputRange, answer)

    async def output(self, session: str, *, after: int = 0, limit: int | None = None) -> Page[OutputChunk]:
        """One page of output, from the chunk after `after`."""
        query = [("after", str(after))]
        if limit is not None:
            query.append(("limit", str(limit)))
        return decoded(Page[OutputChunk], await self._sender.send("GET", f"{_path(session)}/output", query=query))

    async def read_output(self, session: str, *, after: int = 0) -> AsyncIterator[OutputChunk]:
        """All output from the chunk after `after` to the present end, page by page."""
        more = True
        while more:
            page = await self.output(session, after=after, limit=200)
            for chunk in page.data:
                yield chunk
                after = chunk.seq
            more = page.next is not None and bool(page.data)

    async def export(self, session: str) -> dict[str, Any]:
        """Everything that is kept of the session, as one document."""
        document: dict[str, Any] = (await self._sender.send("GET", f"{_path(session)}/export")).json()
        return document


def _path(session: str) -> str:
    return f"/v1/sessions/{quote(session, safe='')}"


def _fence(fence: int | None) -> dict[str, str]:
    return {} if fence is None else {"X-Session-Fence": str(fence)}
