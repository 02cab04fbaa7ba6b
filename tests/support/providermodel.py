"""Provider sessions as a plain Python model: what a server should have, written a second time and simply."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Structure = str | Mapping[str, str]
Line = tuple[str, str, str]
"""A line of the audit trail: action; decision or provider session; reason, or id that is to be resumed."""

FINAL = ("not_found", "corrupted")
TURN_LEASE_S = 60.0
FAILURES_MAX = 3
CHANGED_SHARE = 0.3
NANO = 10**9


@dataclass
class Row:
    """A provider session as it should be.

    Attributes:
        made: order in which rows began.
        proved: whether the provider is known to know the id.
        signed_at: when its holder last gave a sign, by the test's clock.
        usage: `tokens`, `cached_tokens`, `turns` and `nano`, billionths of a dollar.
    """

    id: str
    made: int
    session: str
    task: str | None
    milestone: str | None
    provider_id: str
    operation: str
    iteration: int | None
    resumed_from: str | None
    fork: bool
    fence: int
    lease_s: float
    signed_at: float
    agent: str | None
    proved: bool = False
    is_resumable: bool = True
    failures: int = 0
    structure: Structure | None = None
    state: str = "open"
    usage: dict[str, int | None] = field(
        default_factory=lambda: dict.fromkeys(("tokens", "cached_tokens", "turns", "nano"))
    )

    @property
    def attempting(self) -> bool:
        """Whether it is still to be seen that its id can be resumed."""
        return self.state == "open" and self.untried

    @property
    def untried(self) -> bool:
        """Whether its id is only what it wants to resume."""
        return not self.proved and self.provider_id == self.resumed_from

    def shown(self) -> dict[str, Any]:
        """What a server should show of it, times and fingerprints apart."""
        nano = self.usage["nano"]
        return {
            "id": self.id,
            "provider_session_id": self.provider_id,
            "session_id": self.session,
            "task_id": self.task,
            "milestone": self.milestone,
            "operation": self.operation,
            "iteration": self.iteration,
            "resumed_from": self.resumed_from,
            "is_resumable": self.is_resumable,
            "resume_failure_count": self.failures,
            "usage": {
                **{name: self.usage[name] for name in ("tokens", "cached_tokens", "turns")},
                "cost_usd": None if nano is None else nano / NANO,
            },
            "fork": self.fork,
            "fence": self.fence,
            "state": self.state,
        }


@dataclass
class Turn:
    """The turn of a session's updates.

    Attributes:
        expects: the id that was to be resumed, None to begin afresh.
        subject: the provider session that uses the turn.
        named: whether it named the fence.
    """

    signed_at: float
    expects: str | None = None
    subject: str | None = None
    named: bool = False


@dataclass
class Chain:
    """A session as far as its provider sessions are concerned."""

    id: str
    task: str
    agent: str | None = None
    fence: int = 1
    gone: bool = False
    ended: bool = False
    head: str | None = None
    head_id: str | None = None
    turn: Turn | None = None
    lines: list[Line] = field(default_factory=list)


def share_changed(before: Structure | None, now: Structure | None) -> float:
    """Share of paths that are not as they were; 0 where nothing is known."""
    if before is None or now is None:
        return 0.0
    if isinstance(before, str) or isinstance(now, str):
        return 0.0 if before == now else 1.0
    paths = {*before, *now}
    return sum(before.get(path) != now.get(path) for path in paths) / max(len(paths), 1)


def totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What provider sessions used together, from how they are shown."""
    usages = [row["usage"] for row in rows]
    nano = sum(round((usage["cost_usd"] or 0) * NANO) for usage in usages)
    tokens = sum(usage["tokens"] or 0 for usage in usages)
    return {
        "total_tokens": tokens,
        "total_cached_tokens": sum(usage["cached_tokens"] or 0 for usage in usages),
        "total_turns": sum(usage["turns"] or 0 for usage in usages),
        "total_cost": nano / NANO,
        "cost_known": all(usage["cost_usd"] is not None for usage in usages),
        "num_iterations": len(usages),
        "avg_tokens_per_iteration": tokens / len(usages) if usages else 0.0,
    }


class ProviderModel:
    """All chains of a project.

    Attributes:
        bound: which session each id belongs to, for good.
        on: whether sessions are resumed at all.
        now: the test's clock.
        versions: of the project, each as [session, id that its next update resumes].
    """

    def __init__(self) -> None:
        self.chains: dict[str, Chain] = {}
        self.rows: dict[str, Row] = {}
        self.bound: dict[str, str] = {}
        self.versions: list[list[str | None]] = []
        self.on = True
        self.now = 0.0

    def rows_of(self, session: str) -> list[Row]:
        """A session's rows, oldest first."""
        return [row for row in self.rows.values() if row.session == session]

    def head(self, chain: Chain) -> Row | None:
        """The row that the next resume is decided about."""
        return None if chain.head is None else self.rows[chain.head]

    def link(self, row: Row) -> Row | None:
        """The link whose id a row wants to resume: the head if it has it, else the newest that has."""
        head = self.head(self.chains[row.session])
        if head is not None and head.provider_id == row.resumed_from:
            return head
        links = [one for one in self.rows_of(row.session) if one.provider_id == row.resumed_from]
        links = [one for one in links if one is not row and not one.untried]
        return max(links, key=lambda link: link.made, default=None)

    # Decisions.

    def reasons(self, chain: Chain, head: Row | None, failures: int, structure: Structure | None = None) -> set[str]:
        """Everything that speaks against resuming a link; which of it is told is the server's choice."""
        found = set() if self.on else {"disabled"}
        if head is None:
            return found | {"none"}
        if not head.is_resumable:
            found.add("not_resumable")
        if failures >= FAILURES_MAX:
            found.add("too_many_failures")
        if None not in (head.agent, chain.agent) and head.agent != chain.agent:
            found.add("provider_changed")
        if share_changed(head.structure, structure) > CHANGED_SHARE:
            found.add("structure_changed")
        return found

    def decided(
        self, chain: Chain, answer: Mapping[str, Any], structure: Structure | None = None, *, fork: Row | None = None
    ) -> None:
        """Hold a decision against the rule.

        Args:
            fork: one that could not resume its link: it is decided about this one, and by its own failures.
        """
        head = self.head(chain) if fork is None else self.link(fork)
        failures = 0 if head is None else head.failures
        against = self.reasons(chain, head, failures if fork is None else fork.failures, structure)
        expected: dict[str, Any] = {"fence": chain.fence, "decision": "fresh" if against else "resume"}
        if not against and head is not None:
            expected |= {"id": head.id, "provider_session_id": head.provider_id}
        assert {name: answer[name] for name in expected} == expected, (answer, against)
        assert (answer.get("reason") in against) if against else (answer["age_s"] >= 0), (answer, against)

    def note_decision(self, chain: Chain, answer: Mapping[str, Any]) -> None:
        """It stands in the trail."""
        said = answer.get("reason") or answer["provider_session_id"]
        chain.lines.append(("resume_decided", answer["decision"], said))

    def granted(self, chain: Chain, answer: Mapping[str, Any]) -> None:
        """A turn was given."""
        assert chain.turn is None, "a turn was granted before its time"
        chain.turn = Turn(self.now, answer.get("provider_session_id"))

    def _release(self, row: Row) -> None:
        chain = self.chains[row.session]
        if chain.turn is not None and chain.turn.subject == row.id:
            chain.turn = None

    # Steps.

    def opened(self, row: Row, *, given: bool, fence: int | None) -> None:
        """A row began.

        Args:
            given: whether the client named the id.
            fence: that the client sent.
        """
        chain = self.chains[row.session]
        self.rows[row.id] = row
        assert self.bound.setdefault(row.provider_id, row.session) == row.session
        if not row.fork and fence is not None:
            if chain.turn is None or not chain.turn.named:  # the first who names the fence has the turn
                chain.turn = Turn(self.now, subject=row.id, named=True)
        elif not row.fork and row.iteration is None and chain.turn is not None and chain.turn.subject is None:
            chain.turn.subject = row.id if chain.turn.expects == row.resumed_from else None
        row.proved = given and row.provider_id != row.resumed_from
        if row.proved:
            self._lead(row)
        if row.resumed_from is not None:
            self._inherit(row)
            self._note(row, "resume_attempted")
            self._proved(row, before=False)

    def may_change(self, row: Row, *, factual: bool) -> bool:
        """Whether one who names no fence may say this: who has lost the session only what he used, and that he ended.

        A branch stands beside the chain: nobody takes anything over from it.
        """
        return factual or row.fork or row.fence == self.chains[row.session].fence

    def changed(
        self,
        row: Row,
        *,
        new_id: str | None,
        usage: Mapping[str, int | None],
        ended: bool,
        is_resumable: bool | None,
        structure: Structure | None,
    ) -> None:
        """A row was changed."""
        held = self.may_change(row, factual=False)
        before = (row.state, row.proved)
        row.signed_at = self.now
        row.usage.update(usage)
        if new_id is not None:
            row.provider_id, row.proved, row.is_resumable, row.failures = new_id, True, True, 0
            self.bound[new_id] = row.session
        row.is_resumable = row.is_resumable if is_resumable is None else is_resumable
        row.structure = row.structure if structure is None else structure
        if ended and (row.state == "open" or (row.state == "abandoned" and held)):
            row.state = "ended"
            row.proved = row.proved or is_resumable is not False
        closed = before[0] != "ended" and row.state == "ended"
        if closed:
            self._release(row)
        if new_id is not None or (row.proved and not before[1]):
            self._lead(row)
        self._proved(row, before=before[1])
        if closed and row.resumed_from is not None and not row.proved:
            self._note(row, "resume_given_up")

    def _proved(self, row: Row, *, before: bool) -> None:
        """Failures count in a row: where a branch has just resumed its id they begin anew. A new link of the chain
        counts for itself."""
        if row.resumed_from is None or before or not row.proved:
            return
        self._note(row, "resume_succeeded")
        link = self.link(row)
        if row.fork and link is not None:
            link.failures = 0

    def counts(self, row: Row) -> bool:
        """Whether a failure of it is one: who begins afresh already has nothing that could fail."""
        return not (row.state == "open" and row.resumed_from is None and not row.proved)

    def failed(self, row: Row, reason: str) -> None:
        """An id could not be resumed: counted at the link that has it, and of a fork at itself."""
        link = self.link(row) if row.attempting else row
        counted = row if row.fork and row.attempting else link
        if counted is not None:
            counted.failures += 1
        if link is not None:
            link.is_resumable = link.is_resumable and reason not in FINAL
        if row.state == "open":
            row.signed_at = self.now
        self._note(row, "resume_failed", reason)

    def goes_on(self, row: Row, answer: Mapping[str, Any], made_id: str | None) -> None:
        """What an attempt is after a failure: another try, or a fresh start with an id that was made for it."""
        if answer["decision"] == "resume":
            row.resumed_from = row.provider_id = answer["provider_session_id"]
            self._inherit(row)
            return
        assert made_id is not None
        assert made_id not in self.bound
        row.failures, row.structure = 0, None
        row.resumed_from, row.provider_id = None, made_id
        self.bound[made_id] = row.session

    def gone(self, chain: Chain) -> None:
        """A session is no more, and nobody is given a turn of it."""
        chain.gone = True
        if chain.turn is not None and chain.turn.subject is None:
            chain.turn = None

    def _inherit(self, row: Row) -> None:
        """Who resumes a link knows of files what the link knew."""
        link = self.link(row)
        row.structure = None if link is None else link.structure

    def lapse(self) -> list[Row]:
        """What has run out by now; the rows that were abandoned."""
        lost = [row for row in self.rows.values() if row.state == "open" and self.now - row.signed_at >= row.lease_s]
        for row in lost:
            row.state = "abandoned"
            self._release(row)
            self._note(row, "abandoned")
        for chain in self.chains.values():
            if chain.turn is not None and chain.turn.subject is None:
                chain.turn = None if self.now - chain.turn.signed_at >= TURN_LEASE_S else chain.turn
        return lost

    def _lead(self, row: Row) -> None:
        """There is evidence that the provider knows a row's id."""
        chain = self.chains[row.session]
        if row.fork or row.fence != chain.fence or chain.gone:
            return
        if chain.head is not None:
            assert self.rows[chain.head].fence <= row.fence, "a chain went back to an older holder's id"
        chain.head, chain.head_id = row.id, row.provider_id
        following = [version for version in self.versions if version[0] == row.session]
        if following:
            following[-1][1] = row.provider_id

    def _note(self, row: Row, action: str, reason: str = "") -> None:
        self.chains[row.session].lines.append((action, row.id, reason or (row.resumed_from or "")))
