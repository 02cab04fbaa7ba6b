"""Deciding what the next operation of a session does, and taking the session over for it."""

import uuid
from dataclasses import dataclass, replace
from typing import Any

from sessioncast_server.audit.service import record_line
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.flags.rules import Flag
from sessioncast_server.flags.service import enabled
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.providers import statements
from sessioncast_server.providers.chain import (
    get_use,
    head_of_chain,
    held,
    link_of,
    lock_use,
    structure_of,
    turn_key,
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
from sessioncast_server.turns.service import Place, grant, take_place
from sessioncast_shared.events import EventType
from sessioncast_shared.providers import Decision, FailureReason


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
        head: of the chain; None when there is none.
        fence: of the session since.
    """

    verdict: Verdict
    head: Use | None
    fence: int

    def resource(self) -> dict[str, Any]:
        """The decision as it is told."""
        decision = self.verdict.decision
        if decision is Decision.RESUME and self.head is not None:
            shown: dict[str, Any] = {"provider_session_id": self.head.provider_session_id, "id": self.head.id}
            shown["age_s"] = self.verdict.age_s
        else:
            shown = {"reason": self.verdict.reason}
        return {"decision": decision, **shown, "fence": self.fence}


@dataclass(frozen=True, slots=True)
class Failure:
    """What came of a failed attempt, for those who count."""

    next: Resumption
    reason: FailureReason


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
    if fork:
        record = revive(tx, record)
    else:
        place = take_place(tx, turn_key(session_id), place_id, user=user, lease_s=terms.waiter_lease_s)
        if place.ahead:
            return place
        record = take_over(tx, record)
        grant(tx, place, fence=record.fence, lease_s=terms.turn_lease_s)
    head = head_of_chain(tx, record)
    changed = None
    if structure is not None and head is not None:
        changed = share_changed(structure_of(tx, head), structure)
    decided = Resumption(_verdict(tx, record, head, on, changed, terms), head, record.fence)
    _tell_decision(tx, record, decided, user, fork=fork, changed=changed)
    return decided


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
    check_fence(record, fence)
    if use.attempting and not held(record, use):
        raise fenced(record)
    head = head_of_chain(tx, record)
    link: Use | None = use
    if use.attempting:
        of_head = head is not None and head.provider_session_id == use.resumed_from
        link = head if of_head else link_of(tx, record, use.provider_session_id, but=use.id)
    if link is not None:
        link = replace(
            link,
            resume_failure_count=link.resume_failure_count + 1,
            is_resumable=link.is_resumable and not reason.final,
        )
        update_use(tx, link, sign=link.id == use.id)
        head = link if head is not None and head.id == link.id else head
    decided = Resumption(_verdict(tx, record, head, on, None, terms), head, record.fence)
    note_attempt(tx, "resume_failed", record, use, user, reason=reason, link=None if link is None else link.id)
    tell(tx, EventType.RESUME_FAILED, record, link or use, reason=reason, attempt=use.id)
    if use.attempting:
        _go_on(tx, record, use, decided)
    _tell_decision(tx, record, decided, user, fork=use.fork, changed=None)
    return Failure(decided, reason)


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
    if decided.verdict.decision is Decision.RESUME and decided.head is not None:
        following = decided.head.provider_session_id
        after = replace(use, resumed_from=following, provider_session_id=following)
        if after == use:
            tx.run(statements.RENEW, use_id=use.id)
            return
    else:
        made = str(uuid.uuid4())
        tx.change(statements.BIND, project_id=record.project_id, provider_session_id=made, session_id=record.id)
        after = replace(use, resumed_from=None, provider_session_id=made, id_created_at=max(tx.now, use.last_used_at))
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
