"""Opening, changing and closing provider sessions.

Lock order: task, session. All who write a provider session hold its session's lock, so its row needs none. The task is
locked where its totals are told: two that end at the same time would else each leave out the other.

What one does who has lost the session (its fence is older than the session's) concerns nobody else: it may tell what
it used, and that it ended, for these are facts. It cannot change what the next one resumes.
"""

import uuid
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sessioncast_server.db.ids import new_id
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.providers import statements
from sessioncast_server.providers.chain import (
    head_of_chain,
    held,
    inherit_structure,
    keep_structure,
    link_of,
    lock_use,
    record_step,
    update_use,
)
from sessioncast_server.providers.ids import bind_id, check_project, check_resumed, check_user
from sessioncast_server.providers.record import Use
from sessioncast_server.providers.rules import Structure, digest
from sessioncast_server.providers.telling import note_attempt, tell, tell_with_totals
from sessioncast_server.sessions.record import Record
from sessioncast_server.sessions.service import (
    Hold,
    Visible,
    check_fence,
    check_live,
    fenced,
    get_session,
    hold_session,
)
from sessioncast_server.tasks.service import lock_task
from sessioncast_server.turns.rules import Lease
from sessioncast_server.turns.service import attach, attach_expected, release, session_turn
from sessioncast_server.versions.service import create_version
from sessioncast_shared.events import EventType
from sessioncast_shared.providers import ProviderState


@dataclass(frozen=True, slots=True)
class Opening:
    """A provider session that is to begin.

    Attributes:
        lease_s: seconds it lives without a sign of its holder.
    """

    operation: str
    lease_s: float
    provider_session_id: str | None = None
    resumed_from: str | None = None
    iteration: int | None = None
    milestone: str | None = None
    fork: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What is to change of a provider session; what is None, or not in `usage`, stays.

    Attributes:
        usage: columns of the table with their new values.
    """

    new_id: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    is_resumable: bool | None = None
    structure: Structure | None = None

    @property
    def empty(self) -> bool:
        """Whether it is a sign of life only."""
        return self == Change()

    @property
    def factual(self) -> bool:
        """Whether it tells only what was used, and that it ended."""
        return self.new_id is None and self.is_resumable is None and self.structure is None


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did, for those who count."""

    before: Use
    after: Use

    @property
    def new_id(self) -> bool:
        """Whether it has another id since."""
        return self.before.provider_session_id != self.after.provider_session_id

    @property
    def closed(self) -> bool:
        """Whether it ended now."""
        return self.before.state != ProviderState.ENDED and self.after.state == ProviderState.ENDED

    @property
    def resumed(self) -> bool:
        """Whether it was seen now that the id it resumed could be resumed."""
        return self.after.resumed_from is not None and self.after.proved and not self.before.proved


def open_use(tx: WriteTx, session_id: str, wish: Opening, *, fence: int | None, user: str, visible: Visible) -> Use:
    """Begin a provider session; it takes the session's turn where there is one to take.

    A fork is nobody's to be stopped by: it has no turn, and its fence does not matter.

    Raises:
        Problem: 409 as `hold_session`; 404 for a session, or an id to resume, that is not there.
        SecurityViolation: the session is another user's, or an id another session's.
    """
    if wish.milestone is None:
        lock_task(tx, get_session(tx, session_id, visible).task_id, visible)
    record = hold_session(tx, session_id, Hold(None if wish.fork else fence), visible)
    check_user(tx, record, user)
    if wish.resumed_from is not None:
        check_resumed(tx, record, wish.resumed_from, user=user, visible=visible)
    given = wish.provider_session_id or wish.resumed_from or str(uuid.uuid4())
    if given != wish.resumed_from:
        bind_id(tx, record, given, user=user, visible=visible)
    newest = tx.one(statements.NEWEST_START, session_id=session_id).at
    at = tx.now if newest is None else max(tx.now, newest + timedelta(microseconds=1))
    use = Use(
        id=new_id(),
        project_id=record.project_id,
        session_id=record.id,
        task_id=record.task_id if wish.milestone is None else None,
        milestone=wish.milestone,
        provider_session_id=given,
        proved=given == wish.provider_session_id != wish.resumed_from,
        id_created_at=at,
        operation=wish.operation,
        iteration=wish.iteration,
        resumed_from=wish.resumed_from,
        fork=wish.fork,
        fence=record.fence,
        started_at=at,
        last_used_at=at,
        model_name=record.model_name,
        agent=record.agent,
        lease_s=wish.lease_s,
    )
    link = None if wish.resumed_from is None else link_of(tx, record, wish.resumed_from, but=use.id)
    if link is not None:
        since = link.id_created_at if given == wish.resumed_from else at
        use = replace(use, id_created_at=since, structure_fingerprint=link.structure_fingerprint)
    tx.run(statements.INSERT, **use.columns())
    if link is not None:
        inherit_structure(tx, use, link)
    if not wish.fork:
        _take_turn(tx, record, use, fence=fence, user=user)
    record = record_step(tx, record, use, evidence=use.proved)
    if use.resumed_from is not None:
        note_attempt(tx, "resume_attempted", record, use, user)
        _note_outcome(tx, record, Changed(replace(use, proved=False), use), user)
    tell(tx, EventType.PROVIDER_STARTED, record, use)
    return use


def change_use(tx: WriteTx, use_id: str, change: Change, *, fence: int | None, user: str, visible: Visible) -> Changed:
    """Change a provider session, and renew its lease.

    One that ended, that lost its session, or whose session is no more, may still be told what it used, and that it
    ended: these are facts, and concern no other.

    Raises:
        Problem: 404; 409 `fenced`, `session_replaced`, `session_deleted`.
        SecurityViolation: the session is another user's, or the new id another session's.
    """
    before, record = lock_use(tx, use_id, visible, totals=change.ended or bool(change.usage))
    check_user(tx, record, user)
    check_fence(record, None if before.fork else fence)
    if change.empty or not change.factual:
        check_live(record)
    if change.empty:
        tx.run(statements.RENEW, use_id=use_id)
        return Changed(before, before)
    if not held(record, before) and not change.factual:
        raise fenced(record)
    if change.new_id is not None and change.new_id != before.provider_session_id:
        bind_id(tx, record, change.new_id, user=user, visible=visible)
    after = _changed(tx, before, change, revivable=held(record, before))
    if change.structure is not None:
        keep_structure(tx, after, change.structure)
    update_use(tx, after)
    done = Changed(before, after)
    if before.state != ProviderState.ENDED or record.head_row_id == before.id:
        # An end is evidence where there was none before: a newer id than this one may be known by now.
        evidence = change.new_id is not None or (after.proved and not before.proved)
        record = record_step(tx, record, after, evidence=evidence)
    if before.open and not after.open:
        release(tx, use_id)
    _note_outcome(tx, record, done, user)
    type_ = EventType.PROVIDER_ENDED if done.closed else EventType.PROVIDER_UPDATED
    if done.closed or change.usage:
        tell_with_totals(tx, type_, record, after)
    else:
        tell(tx, type_, record, after)
    return done


def abandon(tx: WriteTx, lease: Lease) -> bool:
    """Close a provider session whose lease has run out, unless it was renewed since; whether it was closed."""
    before, record = lock_use(tx, lease.id, anybody, totals=True)
    if not before.open or before.renewals != lease.renewals:
        return False
    at = max(tx.now, before.last_used_at)
    after = replace(before, state=ProviderState.ABANDONED.value, ended_at=at)
    update_use(tx, after)
    release(tx, lease.id)
    note_attempt(tx, "abandoned", record, after, None)
    tell_with_totals(tx, EventType.PROVIDER_ENDED, record, after)
    return True


def open_leases(tx: ReadTx, after: str, limit: int) -> list[Lease]:
    """Leases of open provider sessions, by id."""
    return [Lease(row.id, row.renewals, row.lease_s) for row in tx.all(statements.LEASES, after=after, limit=limit)]


def name_session(tx: WriteTx, project_id: str, session_id: str, *, user: str, visible: Visible) -> Any:
    """The row of a new version of a project that names a session, and has the head of its chain.

    Raises:
        Problem: 404; 409 as `hold_session`.
        SecurityViolation: the session is another user's, or another project's.
    """
    record = hold_session(tx, session_id, Hold(), visible)
    check_project(tx, record, project_id, user)
    check_user(tx, record, user)
    head = head_of_chain(tx, record)
    if head is None:
        return create_version(tx, record, head_id=None, created_at=None, last_used_at=None)
    times: dict[str, Any] = {"created_at": head.id_created_at, "last_used_at": head.last_used_at}
    return create_version(tx, record, head_id=head.provider_session_id, **times)


def _take_turn(tx: WriteTx, record: Record, use: Use, *, fence: int | None, user: str) -> None:
    key = session_turn(record.id)
    if fence is not None:
        attach(tx, key, use.id, user=user, fence=fence)
    elif use.iteration is None:
        attach_expected(tx, key, use.id, user=user, expects=use.resumed_from)


def anybody(_: str) -> bool:
    """What the server does by itself concerns every project."""
    return True


def _changed(tx: WriteTx, use: Use, change: Change, *, revivable: bool) -> Use:
    at = max(tx.now, use.last_used_at)
    after = replace(use, **change.usage)
    if use.state != ProviderState.ENDED or change.new_id is not None:
        after = replace(after, last_used_at=at)
    if change.new_id is not None:
        after = replace(after, proved=True, is_resumable=True, resume_failure_count=0)
        if change.new_id != use.provider_session_id:
            after = replace(after, provider_session_id=change.new_id, id_created_at=at)
    if change.is_resumable is not None:
        after = replace(after, is_resumable=change.is_resumable)
    if change.structure is not None:
        after = replace(after, structure_fingerprint=digest(change.structure))
    if change.ended and (use.open or (use.state == ProviderState.ABANDONED and revivable)):
        # An end without error is evidence that the provider knows the id, also one that we made.
        proved = after.proved or change.is_resumable is not False
        after = replace(after, state=ProviderState.ENDED.value, ended_at=at, proved=proved)
    return after


def _note_outcome(tx: WriteTx, record: Record, done: Changed, user: str) -> None:
    use = done.after
    if done.resumed:
        note_attempt(tx, "resume_succeeded", record, use, user)
        if use.fork:
            _forget_failures(tx, record, use)
    elif done.closed and use.resumed_from is not None and not use.proved:
        note_attempt(tx, "resume_given_up", record, use, user)


def _forget_failures(tx: WriteTx, record: Record, fork: Use) -> None:
    """Failures count in a row, and a fork has just resumed the link. The chain itself has a new link by then."""
    link = head_of_chain(tx, record)
    if link is None or link.provider_session_id != fork.resumed_from:
        link = link_of(tx, record, fork.resumed_from or "", but=fork.id)
    if link is not None and link.resume_failure_count:
        link = replace(link, resume_failure_count=0)
        update_use(tx, link, sign=False)
        tell(tx, EventType.PROVIDER_UPDATED, record, link)
