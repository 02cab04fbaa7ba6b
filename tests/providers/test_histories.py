"""Anything that programs can do to provider sessions, in any order, beside a plain model of the rules."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support.clockednode import ClockedNode, serving
from support.providermodel import NANO
from support.providersteps import ProviderSteps

_FILES = {f"f{number}": "1" for number in range(10)}
picks = st.integers(0, 50)
recent = st.sampled_from([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 5, 8, 13, 21])
"""Steps back: most of what happens happens to what is new."""
structures = st.one_of(
    st.none(),
    st.sampled_from(["one", "two"]),
    st.integers(0, 10).map(lambda changed: _FILES | {f"f{number}": "2" for number in range(changed)}),
)
amounts = st.one_of(st.none(), st.integers(0, 10**6))
usages = st.fixed_dictionaries(
    {},
    optional={
        "tokens": amounts,
        "cached_tokens": amounts,
        "turns": st.one_of(st.none(), st.integers(0, 9)),
        "cost_usd": st.one_of(st.none(), st.integers(0, 10**11).map(lambda nano: nano / NANO)),
    },
)
leases = st.sampled_from([1, 10, 60])
reasons = st.sampled_from(["not_found", "corrupted", "locked", "locked", "timeout", "other"])
stories = st.one_of(
    st.lists(st.one_of(reasons, st.sampled_from(["new", "same", "end", "end", "error", "time"])), max_size=4),
    st.just(["time", "locked", "time"]),
    st.just(["locked", "locked", "new", "end"]),
)
"""What happens in an update: ways in which its id is not resumed, ids and ends that are told, and half its lease."""


@pytest.fixture(params=["sqlite", "postgresql"])
def node(request: pytest.FixtureRequest) -> Iterator[ClockedNode]:
    """A node on each database."""
    url = "sqlite_url" if request.param == "sqlite" else "migrated_postgres_url"
    with serving(request.getfixturevalue(url)) as found:
        yield found


class Histories(ProviderSteps, RuleBasedStateMachine):
    """Steps in any order; after each one what is shown, what is told and the model agree."""

    served: ClockedNode
    ready = False

    @initialize()
    def begin(self) -> None:
        """Two sessions."""
        self.set_up(self.served)
        self.ready = True

    def teardown(self) -> None:
        """Whatever was left open is closed in the end; the flag is everybody's: leave it as it was."""
        if self.ready:
            self._pass(3600)
            assert not any(row.state == "open" for row in self.model.rows.values())
            assert not any(chain.turn for chain in self.model.chains.values())
            self.agree()
            self.told.is_shown(self.model, self.tasks)
            self._switch(on=True)

    @invariant()
    def all_agree(self) -> None:
        """Rows, heads, turns and totals are the model's, and what events amount to is the same, at every step."""
        if self.ready:
            self.agree()

    @rule(
        number=picks,
        what=st.sampled_from(["version", "version", "complete", "appoint", "appoint", "replace", "delete", "switch"]),
        agent=st.sampled_from([None, "a", "a", "b"]),
    )
    def change_session(self, number: int, what: str, agent: str | None) -> None:
        """Name a session in a version, end it, give it to another agent, replace or delete it; or switch the flag."""
        chain = self._chain(number)
        match what:
            case "version":
                body = {"session_id": chain.id}
                found = self.api.ok(self.api.post(f"/v1/projects/{self.project}/versions", body), 201)
                self.model.versions.append([chain.id, chain.head_id])
                assert (found["number"], found["ai_session_id"]) == (len(self.model.versions), chain.head_id)
            case "complete" if not chain.ended:
                self.api.ok(self.api.patch(f"/v1/sessions/{chain.id}", {"status": "completed"}), 200)
                chain.ended = True
            case "appoint":
                self.api.ok(self.api.patch(f"/v1/sessions/{chain.id}", {"agent": agent}), 200)
                chain.agent = agent
            case "replace":
                self._start(self.tasks.index(chain.task))
            case "delete":
                self.api.ok(self.api.delete(f"/v1/sessions/{chain.id}"), 204)
                self.model.gone(chain)
                self._start(self.tasks.index(chain.task))
            case "switch":
                self._switch(on=not self.model.on or agent is not None)

    @rule(
        number=picks,
        kind=st.sampled_from(["made", "made", "given", "head", "head", "some", "given again", "both"]),
        which=picks,
        fork=st.booleans(),
        milestone=st.sampled_from([None, None, "m", "n"]),
        iteration=st.one_of(st.none(), st.integers(0, 9)),
        lease_s=leases,
        fenced=st.booleans(),
    )
    def open(
        self,
        number: int,
        kind: str,
        which: int,
        fork: bool,
        milestone: str | None,
        iteration: int | None,
        lease_s: float,
        fenced: bool,
    ) -> None:
        """Begin, without having asked what to resume."""
        chain = self._chain(number)
        known = [id_ for id_, owner in self.model.bound.items() if owner == chain.id]
        proved = [row.provider_id for row in self.model.rows_of(chain.id) if row.proved]
        given = resumed = None
        match kind:
            case "given":
                given = self._new_id()
            case "given again" if known:
                given = known[which % len(known)]
            case "head":
                resumed = chain.head_id
            case "both":  # it was resumed already, and gave another id
                given, resumed = self._new_id(), chain.head_id
            case "some" if proved:  # an id that no provider is known to have nobody resumes
                resumed = proved[which % len(proved)]
        self._open(
            chain,
            given=given,
            resumed_from=resumed,
            fork=fork,
            milestone=milestone,
            iteration=iteration,
            lease_s=lease_s,
            fence=chain.fence if fenced else None,
        )

    @precondition(lambda self: self.model.rows)
    @rule(
        number=recent,
        new_id=st.sampled_from([None, None, "new", "new", "same", "some"]),
        which=picks,
        usage=usages,
        ended=st.sampled_from([False, False, True]),
        is_resumable=st.sampled_from([None, None, None, True, False]),
        structure=structures,
        fenced=st.sampled_from([None, None, "now", "now", "old"]),
    )
    def patch(self, number: int, new_id: str | None, which: int, fenced: str | None, **told: Any) -> None:
        """Tell of a provider session, open or not."""
        row = self._row(number)
        known = [id_ for id_, owner in self.model.bound.items() if owner == row.session]
        id_ = {None: None, "new": self._new_id(), "same": row.provider_id, "some": known[which % len(known)]}[new_id]
        fence = self.model.chains[row.session].fence
        self._patch(row, new_id=id_, fence={None: None, "now": fence, "old": fence - 1}[fenced], **told)

    @rule(number=picks, fork=st.booleans(), again=st.booleans(), structure=structures, given_up=st.booleans())
    def resume(self, number: int, fork: bool, again: bool, structure: Any, given_up: bool) -> None:
        """Ask what to resume, and do nothing about it."""
        chain = self._chain(number)
        decision = self._resume(chain, fork=fork, again=again, structure=structure)
        if decision is not None and given_up and not fork:
            headers = self._headers(chain.fence)
            self.api.ok(self.api.delete(f"/v1/sessions/{chain.id}/turn", headers=headers), 204)
            chain.turn = None

    @rule(
        number=picks,
        fork=st.sampled_from([False, False, True]),
        structure=structures,
        lease_s=leases,
        patient=st.booleans(),
        beside=st.booleans(),
        story=stories,
        usage=usages,
    )
    def update(
        self,
        number: int,
        fork: bool,
        structure: Any,
        lease_s: float,
        patient: bool,
        beside: bool,
        story: list[str],
        usage: dict[str, Any],
    ) -> None:
        """Ask, begin what was decided, and do a few things.

        Who is patient lets the one before him end; beside him somebody who did not ask may still be at work.
        """
        chain = self._chain(number)
        if beside:
            self._open(chain, given=self._new_id(), lease_s=lease_s)
        if patient and not fork and chain.turn is not None and chain.turn.subject is not None:
            self._patch(self.model.rows[chain.turn.subject], ended=True)
        decision = self._resume(chain, fork=fork, structure=structure)
        if decision is None:
            return
        fence = None if fork else decision["fence"]
        resumed = decision.get("provider_session_id")
        row = self._open(chain, resumed_from=resumed, fork=fork, lease_s=lease_s, fence=fence)
        for what in story:
            self._do(row, what, usage=usage, fence=fence)

    @rule(
        number=picks,
        fenced=st.booleans(),
        steps=st.lists(
            st.tuples(st.integers(0, 1), st.sampled_from(["new", "new", "same", "end", "end", "error"])), max_size=6
        ),
    )
    def iterate(self, number: int, fenced: bool, steps: list[tuple[int, str]]) -> None:
        """Two at once, without asking."""
        chain = self._chain(number)
        fence = chain.fence if fenced else None
        pair = [self._open(chain, iteration=iteration, fence=fence) for iteration in (1, 2)]
        for which, what in steps:
            self._do(pair[which], what, fence=fence)

    @rule(
        number=picks,
        what=st.sampled_from(["open", "patch", "resume"]),
        kind=st.sampled_from(["stranger", "given", "resumed", "unknown", "fence", "gone"]),
    )
    def in_vain(self, number: int, what: str, kind: str) -> None:
        """Nobody else's session, nobody else's id, no old fence: nothing happens, and a violation is noted."""
        match what:
            case "open":
                self._open_in_vain(number, kind)
            case "patch":
                self._patch_in_vain(number, kind)
            case "resume":
                self._resume_in_vain(number, kind)

    @precondition(lambda self: self._open_rows())
    @rule(number=picks, is_resumable=st.sampled_from([None, None, False]), usage=usages)
    def finish(self, number: int, is_resumable: bool | None, usage: dict[str, Any]) -> None:
        """End one of those that are open, whichever began first."""
        rows = self._open_rows()
        self._patch(rows[number % len(rows)], ended=True, is_resumable=is_resumable, usage=usage)

    @precondition(lambda self: self.model.rows)
    @rule(number=recent, reason=reasons, attempting=st.sampled_from([True, True, True, False]))
    def fail(self, number: int, reason: str, attempting: bool) -> None:
        """Tell that an id could not be resumed."""
        rows = [row for row in self.model.rows.values() if row.attempting]
        row = rows[number % len(rows)] if rows and attempting else self._row(number)
        self._fail(row, reason, None)

    @rule(seconds=st.sampled_from([0.5, 5, 5, 9, 9, 11, 30, 61]), keep=st.sets(recent, max_size=3))
    def pass_time(self, seconds: float, keep: set[int]) -> None:
        """Time passes; some holders give a sign of life just before."""
        for row in [self._row(back) for back in keep if self.model.rows]:
            answer = self.api.patch(f"/v1/provider-sessions/{row.id}", {})
            if self.model.chains[row.session].gone:
                assert answer.json()["code"] in ("session_replaced", "session_deleted")
            else:
                self.api.ok(answer, 200)
                row.signed_at = self.model.now
        self._pass(seconds)


@pytest.mark.timeout(600)  # a failure is made small before it is told
def test_whatever_is_done_the_chain_is_right(node: ClockedNode) -> None:
    """Opens, patches, resumes, forks, failures, lapses, replacements, versions and flag flips agree with the model."""
    machine = type(f"Histories{uuid4().hex}", (Histories,), {"served": node})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=40,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
