"""Deciding what the next operation of a session does, and taking the session over for it."""

import uuid
from dataclasses import dataclass, replace
from typing import Any

from sessioncast_server.audit.service import record_line
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.flags.rules import Flag
from sessioncast_server.flags.service import enabled
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import invalid
from sessioncast_server.providers import statements
from sessioncast_server.providers.chain import (
    get_use,
    head_of_chain,
    held,
    link_of,
    lock_use,
    structure_of,
    update_use,
)
from sessioncast_server.providers.ids import check_user
from sessioncast_server.providers.record import Use
from sessioncast_server.providers.rules import ResumeTerms, Structure, Verdict, decide, share_changed
from sessioncast_server.providers.telling import note_attempt, tell
from sessioncast_server.sessions.record import Record
from sessioncast_server.sessions.service import (
    Hold,
    Visible,
    check_fence,
    check_live,
    fenced,
    get_session,
    hold_session,
    revive,
    session_event,
    take_over,
)
from sessioncast_server.turns.service import Place, give_up, grant, session_turn, take_place
from sessioncast_shared.events import EventType
from sessioncast_shared.providers import Decision, FailureReason, FreshReason


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms sessions are resumed on this node.

    Attributes:
        turn_lease_s: how long a turn may be without a provider session.
        waiter_lease_s: how long a place in the queue outlives its last renewal.
    """

    resume: ResumeTerms
    turn_lease_s: float
    waiter_lease_s: float


@dataclass(frozen=True, slots=True)
class Resumption:
    """A decision, and what it is about.

    Attributes:
        head: of the chain, or what a fork resumes; None when there is none.
        fence: of the session since.
    """

    verdict: Verdict
    head: Use | None
    fence: int

    @property
    def resumes(self) -> str | None:
        """The id to resume, None to begin afresh."""
        if self.head is None or self.verdict.decision is not Decision.RESUME:
            return None
        return self.head.provider_session_id

    def resource(self) -> dict[str, Any]:
        """The decision as it is told."""
        shown: dict[str, Any] = {"reason": self.verdict.reason}
        if self.head is not None and self.resumes is not None:
            shown = {"provider_session_id": self.resumes, "id": self.head.id, "age_s": self.verdict.age_s}
        return {"decision": self.verdict.decision, **shown, "fence": self.fence}


@dataclass(frozen=True, slots=True)
class Failure:
    """What came of a failed attempt, for those who count."""

    next: Resumption
    reason: FailureReason
    project_id: str


def resume(
    tx: WriteTx,
    session_id: str,
    *,
    structure: Structure | None,
    fork: bool,
    place_id: str,
    user: str,
    visible: Visible,
    terms: Terms,
) -> Resumption | Place:
    """What the next operation of a session is to do; it has the session's turn then, unless it is a fork.

    A place in the queue, when it is not its turn yet.

    Args:
        place_id: its place in the queue, the same however often it asks.

    Raises:
        Problem: 404; 409 `session_replaced`, `session_deleted`; 422 `model_not_found`.
        SecurityViolation: the session is another user's.
    """
    # The flag before the session, as where sessions start: one who waits for a flag must not keep a session.
    on = enabled(tx, Flag.SESSION_RESUME, get_session(tx, session_id, visible).project_id)
    record = hold_session(tx, session_id, Hold(), visible)
    check_user(tx, record, user)
    place = Place(place_id, 0)
    if fork:
        record = revive(tx, record)
    else:
        place = take_place(tx, session_turn(session_id), place_id, user=user, lease_s=terms.waiter_lease_s)
        if place.ahead:
            return place
        record = take_over(tx, record)
    head = head_of_chain(tx, record)
    changed = None
    if structure is not None and head is not None:
        changed = share_changed(structure_of(tx, head), structure)
    decided = Resumption(_verdict(tx, record, head, on, changed, terms), head, record.fence)
    if not fork:
        grant(tx, place, fence=record.fence, lease_s=terms.turn_lease_s, expects=decided.resumes)
    _tell_decision(tx, record, decided, user, fork=fork, changed=changed)
    return decided


def give_up_turn(tx: WriteTx, session_id: str, *, fence: int | None, user: str, visible: Visible) -> bool:
    """End the turn that a decision gave, where nothing was opened in it; whether there was one.

    Raises:
        Problem: 404; 409 as `hold_session`; 422 without a fence.
        SecurityViolation: the session is another user's.
    """
    record = hold_session(tx, session_id, Hold(fence), visible)
    check_user(tx, record, user)
    if fence is None:
        raise invalid("X-Session-Fence", "is needed: it names the turn")
    return give_up(tx, session_turn(session_id), fence)


def fail_resume(
    tx: WriteTx,
    use_id: str,
    reason: FailureReason,
    *,
    fence: int | None,
    user: str,
    visible: Visible,
    terms: Terms,
) -> Failure:
    """Count that an id could not be resumed, and decide again.

    Args:
        use_id: the provider session that tried it; when it is to begin afresh it goes on as a fresh one. Else the one
            whose id could not be resumed.

    Raises:
        Problem: 404; 409 `session_replaced`, `session_deleted`, `fenced`.
        SecurityViolation: the session is another user's.
    """
    on = enabled(tx, Flag.SESSION_RESUME, get_use(tx, use_id, visible).project_id)  # before the session, as above
    use, record = lock_use(tx, use_id, visible, totals=False)
    check_live(record)
    check_user(tx, record, user)
    check_fence(record, None if use.fork else fence)
    if use.attempting and not held(record, use):
        raise fenced(record)
    if use.fork and use.attempting:
        decided = _fail_fork(tx, record, use, reason, on, terms)
    elif use.open and use.resumed_from is None and not use.proved:
        # It begins afresh already: said once more it changes nothing, and is a sign of life all the same.
        tx.run(statements.RENEW, use_id=use.id)
        return Failure(Resumption(Verdict(FreshReason.NONE), None, record.fence), reason, record.project_id)
    else:
        decided = _fail_link(tx, record, use, reason, on, terms)
    link = decided.link
    note_attempt(tx, "resume_failed", record, use, user, reason=reason, link=None if link is None else link.id)
    tell(tx, EventType.RESUME_FAILED, record, link or use, reason=reason, attempt=use.id)
    if use.attempting:
        _go_on(tx, record, decided.use, decided.next)
    _tell_decision(tx, record, decided.next, user, fork=use.fork, changed=None)
    return Failure(decided.next, reason, record.project_id)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A failure that was counted.

    Attributes:
        link: whose id could not be resumed, as it is now; None where nobody has it any more.
        use: the attempt, as it is now.
    """

    next: Resumption
    link: Use | None
    use: Use


def _fail_link(tx: WriteTx, record: Record, use: Use, reason: FailureReason, on: bool, terms: Terms) -> _Counted:
    """Failures of an update count at the link; what is next is decided about the head of the chain."""
    head = head_of_chain(tx, record)
    link = _link_of_attempt(tx, record, use, head) if use.attempting else use
    if link is not None:
        count, resumable = link.resume_failure_count + 1, link.is_resumable and not reason.final
        link = replace(link, resume_failure_count=count, is_resumable=resumable)
        update_use(tx, link, sign=link.id == use.id)
        head = link if head is not None and head.id == link.id else head
    following = Resumption(_verdict(tx, record, head, on, None, terms), head, record.fence)
    return _Counted(following, link, use)


def _fail_fork(tx: WriteTx, record: Record, use: Use, reason: FailureReason, on: bool, terms: Terms) -> _Counted:
    """Failures of a fork count at itself, and what is next is decided about what it resumes.

    A busy id is what forks of it must expect, and says nothing of the chain. One that is gone is gone for all.
    """
    link = _link_of_attempt(tx, record, use, head_of_chain(tx, record))
    if link is not None and reason.final:
        link = replace(link, is_resumable=False)
        update_use(tx, link, sign=False)
    use = replace(use, resume_failure_count=use.resume_failure_count + 1)
    update_use(tx, use)
    judged = None if link is None else replace(link, resume_failure_count=use.resume_failure_count)
    following = Resumption(_verdict(tx, record, judged, on, None, terms), link, record.fence)
    return _Counted(following, link if reason.final else use, use)


def _link_of_attempt(tx: WriteTx, record: Record, use: Use, head: Use | None) -> Use | None:
    if head is not None and head.provider_session_id == use.resumed_from:
        return head
    return link_of(tx, record, use.provider_session_id, but=use.id)


def _verdict(tx: WriteTx, record: Record, head: Use | None, on: bool, changed: float | None, terms: Terms) -> Verdict:
    return decide(
        None if head is None else head.link,
        now=tx.now,
        enabled=on,
        model_name=record.model_name,
        agent=record.agent,
        changed=changed,
        terms=terms.resume,
    )


def _go_on(tx: WriteTx, record: Record, use: Use, decided: Resumption) -> None:
    """What the attempt is from now on: the same once more, or a fresh start."""
    if decided.resumes is not None:
        after = replace(use, resumed_from=decided.resumes, provider_session_id=decided.resumes)
        if after == use:
            tx.run(statements.RENEW, use_id=use.id)
            return
    else:
        made = str(uuid.uuid4())
        tx.change(statements.BIND, project_id=record.project_id, provider_session_id=made, session_id=record.id)
        at = max(tx.now, use.last_used_at)
        tx.run(statements.DROP_STRUCTURE, use_id=use.id)  # inherited from what it does not resume
        fresh: dict[str, Any] = {"resumed_from": None, "structure_fingerprint": None, "resume_failure_count": 0}
        after = replace(use, **fresh, provider_session_id=made, id_created_at=at)
    update_use(tx, after)
    tell(tx, EventType.PROVIDER_UPDATED, record, after)


def _tell_decision(
    tx: WriteTx, record: Record, decided: Resumption, user: str, *, fork: bool, changed: float | None
) -> None:
    data = {**decided.resource(), "user": user, "fork": fork}
    if decided.head is not None:
        # What was decided about, also where the answer is to leave it alone.
        head = {"id": decided.head.id, "provider_session_id": decided.head.provider_session_id}
        data["head"] = {**head, "age_s": decided.verdict.age_s}
    if changed is not None:
        data["share_changed"] = changed
    # As all events of a session it carries the whole of it.
    told = json_bytes({**record.resource(), "resume": data})
    tx.emit(session_event(EventType.RESUME_DECIDED, record, at=tx.now, data=told))
    record_line(tx, "resume_decided", project_id=record.project_id, session_id=record.id, user=user, data=data)
