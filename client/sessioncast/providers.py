"""Provider sessions: uses of an AI provider, what they cost, and what may be resumed."""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from sessioncast.afterwards import Afterwards
from sessioncast.decode import decoded
from sessioncast.identity import fenced, id_of, segment
from sessioncast.limits import Limits
from sessioncast.sender import Sender
from sessioncast.turns import queued, taken
from sessioncast_shared.providers import (
    AuditEntry,
    Chain,
    FailureReason,
    ProviderSession,
    ResumeDecision,
    Usage,
    UsageMetrics,
)
from sessioncast_shared.resources import Page, Session

Fingerprint = str | Mapping[str, str]
"""Of the files a provider worked on: anything opaque of at most 200 characters, or a map of paths to hashes."""


class Providers:
    """`client.providers`: the requests. `client.iteration` and `client.resumable` make of them what one wants.

    Sessions and provider sessions are named by themselves or by their ids. A `fence`, where one is taken, is that of
    the decision that is acted upon.

    Attributes:
        afterwards: what goes on for callers who were cancelled.
    """

    def __init__(self, sender: Sender, limits: Limits, afterwards: Afterwards) -> None:
        self.afterwards = afterwards
        self._sender = sender
        self._limits = limits

    async def open(
        self,
        session: Session | str,
        operation: str,
        *,
        provider_session_id: str | None = None,
        resumed_from: str | None = None,
        iteration: int | None = None,
        milestone: str | None = None,
        fork: bool = False,
        lease_s: float | None = None,
        fence: int | None = None,
    ) -> ProviderSession:
        """Begin to use a provider. Somebody has to end it, or renew its lease by any write to it.

        Args:
            provider_session_id: that the provider is known to have; without it the server makes one to begin with.
            resumed_from: id that is being resumed.
            milestone: it works for this one, not for its session's task.
            lease_s: 1 to 3600; after so long without a write it is given up.

        Raises:
            Fenced, SessionReplaced, SessionDeleted: the session does not take it.
            SecurityViolation: the session, or the id, is another's.
        """
        wishes = {
            "operation": operation,
            "provider_session_id": provider_session_id,
            "resumed_from": resumed_from,
            "iteration": iteration,
            "milestone": milestone,
            "lease_s": lease_s,
            "fork": fork or None,
        }
        answer = await self._sender.send(
            "POST", f"/v1/sessions/{segment(session)}/provider-sessions", body=_said(wishes), headers=fenced(fence)
        )
        return decoded(ProviderSession, answer)

    async def patch(
        self,
        provider_session: ProviderSession | str,
        *,
        new_provider_session_id: str | None = None,
        usage: Usage | Mapping[str, float] | None = None,
        ended: bool | None = None,
        is_resumable: bool | None = None,
        structure_fingerprint: Fingerprint | None = None,
        saved: Mapping[str, float] | None = None,
        fence: int | None = None,
        deadline_s: float | None = None,
    ) -> ProviderSession:
        """Tell what has become of it; what is not named stays. Nothing at all renews its lease.

        Args:
            new_provider_session_id: that the provider gave out; the same again tells that it still has it.
            usage: totals so far: they replace what was told before.
            saved: `cost_usd`, `seconds` less than a fresh run would have taken; may be negative.

        Raises:
            Fenced: `fence` is not the session's any more.
        """
        wishes = {
            "new_provider_session_id": new_provider_session_id,
            "usage": _said(usage.model_dump() if isinstance(usage, Usage) else usage or {}) or None,
            "ended": ended,
            "is_resumable": is_resumable,
            "structure_fingerprint": structure_fingerprint
            if structure_fingerprint is None or isinstance(structure_fingerprint, str)
            else dict(structure_fingerprint),
            "saved": _said(saved or {}) or None,
        }
        answer = await self._sender.send(
            "PATCH",
            f"/v1/provider-sessions/{segment(provider_session)}",
            body=_said(wishes),
            headers=fenced(fence),
            deadline_s=deadline_s,
        )
        return decoded(ProviderSession, answer)

    async def resume(
        self,
        session: Session | str,
        *,
        structure_fingerprint: Fingerprint | None = None,
        fork: bool = False,
        wait_s: float | None = None,
    ) -> ResumeDecision:
        """Wait for one's turn, and be told what to do with it: resume an id, or begin afresh.

        The turn is over when the provider session that is opened with the decision's fence ends. It is one request: a
        lost answer is asked for again, and told again, but once the server has said that the turn did not come in
        `wait_s` that is the answer. With `Limits.attempt_s` for the way, it never takes longer than both together.
        Cancelled it is over at once; the place in the queue, or the turn if it has come, is given up in the background.

        Args:
            structure_fingerprint: of the files as they are now; compared with that of the last run.
            fork: branch off beside the chain: nobody is waited for, and nobody has to wait.
            wait_s: 0 to 60; without it as the server is set.

        Raises:
            SessionBeingModified: others still had theirs; `ahead` is how many.
            SecurityViolation: the session is another user's.
        """
        wishes = {"structure_fingerprint": structure_fingerprint, "wait_s": wait_s, "fork": fork or None}
        if isinstance(structure_fingerprint, Mapping):
            wishes["structure_fingerprint"] = dict(structure_fingerprint)
        body = _said(wishes)
        if fork:
            return await self._resume(session, body, None)
        return await taken(
            partial(self._resume, session),
            body,
            give_up=lambda decision: self.give_up_turn(session, decision.fence),
            afterwards=self.afterwards,
            within_s=self._limits.give_up_s,
        )

    async def _resume(self, session: Session | str, wishes: Mapping[str, Any], key: str | None) -> ResumeDecision:
        path = f"/v1/sessions/{segment(session)}/resume"
        return decoded(ResumeDecision, await queued(self._sender, self._limits, path, wishes, key=key))

    async def give_up_turn(self, session: Session | str, fence: int) -> None:
        """End the turn that a decision with this fence gave, where nothing was opened in it; else nothing happens.

        Raises:
            Fenced: somebody else had a turn since.
        """
        await self._sender.send("DELETE", f"/v1/sessions/{segment(session)}/turn", headers=fenced(fence))

    async def resume_failed(
        self, provider_session: ProviderSession | str, reason: FailureReason | str, *, fence: int | None = None
    ) -> ResumeDecision:
        """Tell that the provider did not resume the id that this one was opened to resume, and hear what to do next.

        Raises:
            ValueError: there is no such reason; nothing was sent.
            Fenced: `fence` is not the session's any more.
        """
        answer = await self._sender.send(
            "POST",
            f"/v1/provider-sessions/{segment(provider_session)}/resume-failed",
            body={"reason": FailureReason(reason)},
            headers=fenced(fence),
        )
        return decoded(ResumeDecision, answer)

    async def chain(
        self,
        session: Session | str,
        *,
        limit: int | None = None,
        after: str | None = None,
        min_position: str | None = None,
    ) -> Chain:
        """One page of a session's provider sessions, oldest first, with the head: what the next resume is about.

        Args:
            limit: 1 to 200.
            after: the `next` of the page before.
            min_position: `position` of an earlier answer that the read must not be older than.
        """
        query = _query(limit=limit, after=after, min_position=min_position)
        return decoded(Chain, await self._sender.send("GET", f"/v1/sessions/{segment(session)}/chain", query=query))

    async def metrics(
        self,
        *,
        task: str | None = None,
        session: Session | str | None = None,
        project: str | None = None,
        milestone: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> UsageMetrics:
        """What was used, in total, with a page of the provider sessions it is the total of.

        Args:
            task, session, project: exactly one of them.
            milestone: of `project`.

        Raises:
            TypeError: it is not one of them that was named; nothing was sent.
        """
        if sum(named is not None for named in (task, session, project)) != 1 or (
            milestone is not None and project is None
        ):
            raise TypeError("name a task, a session, a project, or a project and its milestone")
        if task is not None:
            path = f"/v1/tasks/{quote(task, safe='')}"
        elif session is not None:
            path = f"/v1/sessions/{segment(session)}"
        else:
            path = f"/v1/projects/{quote(str(project), safe='')}"
        # Not in the path, where labels like «..» would name something else.
        query = _query(milestone=milestone, limit=limit, after=after)
        return decoded(UsageMetrics, await self._sender.send("GET", f"{path}/metrics", query=query))

    async def audit(
        self, project: str, *, session: Session | str | None = None, user: str | None = None
    ) -> AsyncIterator[AuditEntry]:
        """A project's audit trail, newest first, page by page; the token needs the scope `sessions:audit`."""
        path = f"/v1/projects/{quote(project, safe='')}/audit"
        after: str | None = None
        while True:
            query = _query(session=None if session is None else id_of(session), user=user, limit=200, after=after)
            page = decoded(Page[AuditEntry], await self._sender.send("GET", path, query=query))
            for entry in page.data:
                yield entry
            after = page.next
            if after is None:
                return


def _said(wishes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wishes.items() if value is not None}


def _query(**wishes: Any) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in wishes.items() if value is not None]
