"""Sessions: the one live attempt at a phase of a task."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from sessioncast.bulk import BulkOutcome, Deletion, Replacement, batches, model_wire
from sessioncast.confirmation import ModelChangeRequiresConfirmation
from sessioncast.decode import decoded
from sessioncast.errors import SessioncastError
from sessioncast.sender import Sender
from sessioncast_shared.phases import Phase
from sessioncast_shared.resources import OutputChunk, OutputRange, Page, Session, StartOutcome

OnConflict = Literal["ask", "replace", "restart", "reject"]


class Sessions:
    """`client.sessions`.

    A `fence`, where one is taken, is the one the session had when it was taken over. A `min_position` is the `position`
    of an earlier answer: the read waits, up to 5 s on the server, until the node it meets has come that far.
    """

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
            confirm: the `confirmation` of an earlier refusal, where its own `confirm()` is not at hand.

        Raises:
            ModelChangeRequiresConfirmation: a live session would be replaced; `await error.confirm()` does it.
            SessionChanged: the one that was confirmed is not the live one any more; it can be confirmed likewise.
            SessionActive: one is live and `on_conflict` is `reject`.
            SessionBeingModified: others kept changing it until the deadline.
            ModelNotFound: the project knows no such model, or not any more.
            CreateFailed: the server failed until the deadline.
            NotFound: there is no such task.
        """
        body: dict[str, Any] = {"phase": str(phase), "on_conflict": on_conflict, "model": model_wire(model)}
        wishes = {"agent": agent, "metadata": metadata, "confirm": confirm}
        body |= {name: value for name, value in wishes.items() if value is not None}
        if debug:
            body["debug"] = True
        if treat_minor_as_change:
            body["treat_minor_as_change"] = True
        return await self._start(task, body)

    async def _start(self, task: str, body: dict[str, Any]) -> StartOutcome:
        try:
            answer = await self._sender.send("POST", f"/v1/tasks/{quote(task, safe='')}/sessions", body=body)
        except ModelChangeRequiresConfirmation as refusal:
            self._bind(refusal, task, body)
            raise
        return decoded(StartOutcome, answer)

    def _bind(self, refusal: ModelChangeRequiresConfirmation, task: str, body: dict[str, Any]) -> None:
        wish = "restart" if body["on_conflict"] == "restart" else "replace"
        confirmed = {**body, "on_conflict": wish, "confirm": refusal.confirmation}
        refusal.bind(
            confirm=partial(self._start, task, confirmed),
            export=partial(self.export, refusal.existing.id),
        )

    async def find(
        self, task: str, phase: Phase | str, *, debug: bool = False, min_position: str | None = None
    ) -> Session | None:
        """The live session of a phase, None when there is none; of several (single-session rule off) the newest."""
        sessions = await self.list(task, phase=phase, debug=debug, min_position=min_position)
        return sessions[0] if sessions else None

    async def get(self, session: str, *, min_position: str | None = None) -> Session:
        """Read it; a deleted one is still read.

        Raises:
            NotFound: there is none, or it is not yours to know of.
        """
        return decoded(Session, await self._sender.send("GET", _path(session), query=_from(min_position)))

    async def list(
        self,
        task: str,
        *,
        phase: Phase | str | None = None,
        debug: bool | None = None,
        min_position: str | None = None,
    ) -> Sequence[Session]:
        """The live sessions of a task, newest first; at most one per phase, debug sessions apart."""
        query = _from(min_position)
        if phase is not None:
            query.append(("phase", str(phase)))
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

    async def delete(self, session: str, *, fence: int | None = None) -> str | None:
        """Delete it softly; its output stays readable. Deleting again does nothing.

        Returns:
            The position that the deletion is visible from; None when there was nothing left to do.
        """
        return (await self._sender.send("DELETE", _path(session), headers=_fence(fence))).position

    async def bulk(
        self, project: str, *, replace: Sequence[Replacement] = (), delete: Sequence[Deletion | str] = ()
    ) -> BulkOutcome:
        """Replace and delete many sessions of a project, replacements first, each by itself: some may be refused.

        Over 1,000 items, or half a megabyte, go in several requests, one after another. Once one was answered,
        nothing is raised any more: the items of one that failed, and all after it, have its exception as their error.
        Nothing is applied twice when the same is asked for again.

        Args:
            delete: ids, or `Deletion`s with the version that must not have changed.

        Raises:
            SessioncastError: the first request failed as a whole.
        """
        path = f"/v1/projects/{quote(project, safe='')}/sessions/bulk"
        deletions = [Deletion(wish) if isinstance(wish, str) else wish for wish in delete]
        whole, failure = BulkOutcome(), None
        for number, batch in enumerate(batches(replace, deletions)):
            if failure is None:
                try:
                    part = batch.outcome(await self._sender.send("POST", path, body=batch.wire()))
                except SessioncastError as error:
                    if number == 0:
                        raise
                    failure = error
            whole = whole.followed_by(part if failure is None else batch.lost(failure))
        for item in whole.replace:
            if isinstance(item.error, ModelChangeRequiresConfirmation):
                wish = {"phase": str(item.wish.phase), "model": model_wire(item.wish.model), "on_conflict": "replace"}
                self._bind(item.error, item.wish.task, wish)
        return whole

    async def append(
        self,
        session: str,
        chunks: Sequence[tuple[str, str]],
        *,
        fence: int | None = None,
        deadline_s: float | None = None,
        key: str | None = None,
    ) -> OutputRange:
        """Append output: pairs of stream (`log`, `result`, …) and text. Recorded once, however often it is sent.

        Args:
            key: the `Idempotency-Key`, for who may have to send the same in another call, or another life.

        Raises:
            SessionReplaced, SessionDeleted, Fenced: the session takes no more.
        """
        body = {"chunks": [{"stream": stream, "text": text} for stream, text in chunks]}
        answer = await self._sender.send(
            "POST", f"{_path(session)}/output", body=body, headers=_fence(fence), deadline_s=deadline_s, key=key
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


def _from(min_position: str | None) -> list[tuple[str, str]]:
    return [] if min_position is None else [("min_position", min_position)]


def _fence(fence: int | None) -> dict[str, str]:
    return {} if fence is None else {"X-Session-Fence": str(fence)}
