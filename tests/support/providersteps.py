"""Steps of programs with provider sessions; each is held against the model at once."""

from collections import Counter
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from support.api import ALL_SCOPES, problem
from support.chains import FLAG
from support.clockednode import ClockedNode
from support.providermodel import NANO, Chain, ProviderModel, Row
from support.providertold import Told

_NAMES = count()


class ProviderSteps:
    """What people do, and what the model says of it.

    Attributes:
        node: where they do it.
        told: what events amount to.
        decisions: events of decisions and failures that there must be.
    """

    def set_up(self, node: ClockedNode) -> None:
        """Two tasks in a project of its own, one of them with a label, and a session in each."""
        self.node = node
        self.api = node.api.acting(sub="ann", scopes=(*ALL_SCOPES, "admin"))
        self.stranger = node.api.acting(sub="bob")
        self.project = self.api.project()
        self.tasks = [
            self.api.ok(self.api.post(f"/v1/projects/{self.project}/tasks", {"title": "T", **label}), 201)["id"]
            for label in ({}, {"milestone": "m"})
        ]
        self.model = ProviderModel()
        self.model.now = node.now
        self.told = Told(self.api, self.project)
        self.decisions: Counter[str] = Counter()
        self._switch(on=True)
        for task in (0, 1):
            self._start(task)

    def agree(self) -> None:
        """What is told, and what is open and waits, is the model's."""
        rows, places = self.node.look()
        assert rows == sum(row.state == "open" for row in self.model.rows.values())
        turns = [chain.turn for chain in self.model.chains.values() if chain.turn is not None]
        assert places == sum(turn.subject is None for turn in turns)
        self.told.read()
        self.told.agrees(self.model)
        assert self.told.decisions == self.decisions, "not told as often as it happened"

    def _switch(self, *, on: bool) -> None:
        self.api.ok(self.api.request("PUT", FLAG, json={"state": "on" if on else "off"}), 200)
        self.model.on = on

    def _start(self, task: int) -> None:
        """A session for the task, instead of its live one if it has one."""
        chain = next((one for one in self.model.chains.values() if one.task == self.tasks[task] and not one.gone), None)
        wish: dict[str, Any] = {"phase": "run", "model": {"name": "m"}}
        if chain is not None:
            wish |= {"on_conflict": "restart", "confirm": {"session_id": chain.id}}
            self.model.gone(chain)
        found = self.api.ok(self.api.post(f"/v1/tasks/{self.tasks[task]}/sessions", wish), 201)["session"]
        fence = 1 if chain is None else chain.fence + 1
        assert (found["fence"], found["head_provider_session_id"]) == (fence, None)
        self.model.chains[found["id"]] = Chain(found["id"], self.tasks[task], fence=fence)

    def _chain(self, number: int, *, live: bool = True) -> Chain:
        chains = [chain for chain in self.model.chains.values() if not (live and chain.gone)]
        return chains[number % len(chains)]

    def _row(self, back: int) -> Row:
        rows = list(self.model.rows.values())
        return rows[-1 - back % len(rows)]

    def _new_id(self) -> str:
        return f"{self.project}-{next(_NAMES)}"

    def _other_id(self, session: str) -> str | None:
        return next((id_ for id_, owner in self.model.bound.items() if owner != session), None)

    @staticmethod
    def _headers(fence: int | None) -> dict[str, str]:
        return {} if fence is None else {"X-Session-Fence": str(fence)}

    def _open(
        self,
        chain: Chain,
        *,
        given: str | None = None,
        resumed_from: str | None = None,
        fork: bool = False,
        milestone: str | None = None,
        iteration: int | None = None,
        lease_s: float = 60,
        fence: int | None = None,
    ) -> Row:
        wish = {
            "operation": "update",
            "provider_session_id": given,
            "resumed_from": resumed_from,
            "fork": fork,
            "milestone": milestone,
            "iteration": iteration,
            "lease_s": lease_s,
        }
        body = {name: value for name, value in wish.items() if value is not None}
        answer = self.api.post(f"/v1/sessions/{chain.id}/provider-sessions", body, headers=self._headers(fence))
        found = self.api.ok(answer, 201)
        id_ = found["provider_session_id"]
        if given or resumed_from:
            assert id_ == (given or resumed_from)
        else:
            assert UUID(id_)
            assert id_ not in self.model.bound
        row = Row(
            found["id"],
            len(self.model.rows),
            chain.id,
            None if milestone else chain.task,
            milestone,
            id_,
            "update",
            iteration,
            resumed_from,
            fork,
            chain.fence,
            lease_s,
            self.model.now,
            chain.agent,
        )
        self.model.opened(row, given=given is not None, fence=fence)
        assert found.items() >= row.shown().items()
        return row

    def _patch(
        self,
        row: Row,
        *,
        new_id: str | None = None,
        usage: dict[str, Any] | None = None,
        ended: bool = False,
        is_resumable: bool | None = None,
        structure: Any = None,
        fence: int | None = None,
    ) -> None:
        chain = self.model.chains[row.session]
        if row.state == "ended" and chain.head != row.id:
            new_id = None  # what a late id of an older link means nobody says
        usage = usage or {}
        wish = {
            "new_provider_session_id": new_id,
            "usage": usage or None,
            "ended": ended or None,
            "is_resumable": is_resumable,
            "structure_fingerprint": structure,
        }
        body = {name: value for name, value in wish.items() if value is not None}
        answer = self.api.patch(f"/v1/provider-sessions/{row.id}", body, headers=self._headers(fence))
        factual = body.keys() <= {"usage", "ended"}
        if chain.gone and not (body and factual):
            assert answer.json()["code"] in ("session_replaced", "session_deleted", "fenced")
            return
        if (fence not in (None, chain.fence) and not row.fork) or not self.model.may_change(row, factual=factual):
            problem(answer, 409, "fenced")
            return
        found = self.api.ok(answer, 200)
        columns = {name: value for name, value in usage.items() if name != "cost_usd"}
        if "cost_usd" in usage:
            columns["nano"] = None if usage["cost_usd"] is None else round(usage["cost_usd"] * NANO)
        self.model.changed(
            row, new_id=new_id, usage=columns, ended=ended, is_resumable=is_resumable, structure=structure
        )
        assert found.items() >= row.shown().items()

    def _resume(self, chain: Chain, *, fork: bool, again: bool = False, structure: Any) -> dict[str, Any] | None:
        body = {"fork": fork, "wait_s": 0} | ({} if structure is None else {"structure_fingerprint": structure})
        path, headers = f"/v1/sessions/{chain.id}/resume", {"Idempotency-Key": str(uuid4())}
        answer = self.api.post(path, body, headers=headers if again else {})
        if chain.turn is not None and not fork:
            document = problem(answer, 409, "session_being_modified")
            assert (document["ahead"], answer.headers["retry-after"]) == (1, "1")
            return None
        found: dict[str, Any] = self.api.ok(answer, 200)
        chain.fence += not fork
        chain.ended = False
        self.model.decided(chain, found, structure)
        self.model.note_decision(chain, found)
        self.decisions["session.resume_decided"] += 1
        if not fork:
            self.model.granted(chain, found)
        if again:  # because the answer was lost
            assert self.api.ok(self.api.post(path, body, headers=headers), 200) == found
        return found

    def _fail(self, row: Row, reason: str, fence: int | None) -> None:
        chain, goes_on = self.model.chains[row.session], row.attempting
        path, headers = f"/v1/provider-sessions/{row.id}", self._headers(fence)
        answer = self.api.post(f"{path}/resume-failed", {"reason": reason}, headers=headers)
        if chain.gone:
            assert answer.json()["code"] in ("session_replaced", "session_deleted")
            return
        if goes_on and not self.model.may_change(row, factual=False):
            problem(answer, 409, "fenced")
            return
        found = self.api.ok(answer, 200)
        if not self.model.counts(row):
            assert (found["decision"], found["fence"]) == ("fresh", chain.fence)
            row.signed_at = self.model.now
            return
        self.model.failed(row, reason)
        self.model.decided(chain, found, fork=row if goes_on and row.fork else None)
        self.model.note_decision(chain, found)
        self.decisions.update(["session.resume_decided", "provider_session.resume_failed"])
        if goes_on:
            made = None
            if found["decision"] == "fresh":
                made = self.api.ok(self.api.patch(path, {}), 200)["provider_session_id"]
                assert UUID(made)
            self.model.goes_on(row, found, made)

    def _open_in_vain(self, number: int, kind: str) -> None:
        chain = self._chain(number, live=kind != "gone")
        path, body = f"/v1/sessions/{chain.id}/provider-sessions", {"operation": "update"}
        other = self._other_id(chain.id)
        if kind == "gone":
            if chain.gone:
                assert self.api.post(path, body).status_code == 409
        elif kind == "unknown":
            problem(self.api.post(path, {**body, "resumed_from": self._new_id()}), 404, "not_found")
        elif kind == "fence":
            old = self.api.post(path, body, headers=self._headers(chain.fence - 1))
            problem(old, 409, "fenced")
        elif kind == "stranger" or other is not None:
            more = {"given": {"provider_session_id": other}, "resumed": {"resumed_from": other}}.get(kind, {})
            actor = self.stranger if kind == "stranger" else self.api
            problem(actor.post(path, {**body, **more}), 403, "session_security_violation")
            chain.lines.append(("security_violation", "user" if kind == "stranger" else "session", ""))

    def _patch_in_vain(self, number: int, kind: str) -> None:
        if not self.model.rows:
            return
        row = self._row(number)
        other = self._other_id(row.session)
        if other is None or self.model.chains[row.session].gone or not self.model.may_change(row, factual=False):
            return
        path, body = f"/v1/provider-sessions/{row.id}", {"new_provider_session_id": other}
        answer = (self.stranger if kind == "stranger" else self.api).patch(path, body)
        problem(answer, 403, "session_security_violation")
        what = "user" if kind == "stranger" else "session"
        self.model.chains[row.session].lines.append(("security_violation", what, ""))

    def _resume_in_vain(self, number: int, kind: str) -> None:
        chain = self._chain(number, live=kind != "gone")
        actor = self.stranger if kind == "stranger" else self.api
        if kind == "stranger" or chain.gone:
            answer = actor.post(f"/v1/sessions/{chain.id}/resume", {"wait_s": 0})
            if kind == "stranger":
                problem(answer, 403, "session_security_violation")
                chain.lines.append(("security_violation", "user", ""))
            else:
                assert answer.json()["code"] in ("session_replaced", "session_deleted")

    def _open_rows(self) -> list[Row]:
        return [row for row in self.model.rows.values() if row.state == "open"]

    def _do(self, row: Row, what: str, *, usage: dict[str, Any] | None = None, fence: int | None) -> None:
        match what:
            case "new" | "same":
                self._patch(row, new_id=self._new_id() if what == "new" else row.provider_id, fence=fence)
            case "end" | "error":
                self._patch(row, ended=True, is_resumable=None if what == "end" else False, usage=usage, fence=fence)
            case "time":
                self._pass(row.lease_s / 2)
            case _:
                self._fail(row, what, fence)

    def _pass(self, seconds: float) -> None:
        self.node.look()
        self.node.now += seconds
        self.model.now = self.node.now
        self.model.lapse()
        self.node.look()
