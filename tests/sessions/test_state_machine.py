"""Anything that several people can do to a project's sessions, in any order, beside a plain model of the rule."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from support.api import ALL_SCOPES, Api
from support.ruleofone import TERMINAL, RuleOfOne

_FLAG = "/v1/admin/flags/single_session_enabled"
_PHASES = ("plan", "run")
_ACTORS = ("ann", "bob", "eve")
_WRONG = "01234567-89ab-7def-8123-456789abcdef"

models = st.builds(
    lambda name, version, params: {"name": name} | version | params,
    st.sampled_from(["a", "b", "c/d"]),
    st.sampled_from([{}, {"version": "1.0"}, {"version": "1.1"}, {"version": "2.0"}]),
    st.sampled_from([{}, {"params": {"temperature": 1}}, {"params": {"seed": 7}}]),
)
wishes = st.fixed_dictionaries(
    {"model": models},
    optional={
        "on_conflict": st.sampled_from(["ask", "replace", "restart", "reject"]),
        "treat_minor_as_change": st.booleans(),
    },
)
patches = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["pending", "running", "idle", *TERMINAL]),
        "metadata": st.dictionaries(st.sampled_from("xy"), st.integers(0, 2), max_size=2),
    },
)
picks = st.integers(0, 50)


class Sessions(RuleBasedStateMachine):
    """Steps of several actors; after each one the server, its log and the model agree."""

    api: Api

    @initialize()
    def begin(self) -> None:
        """Two tasks in a project of its own, with the flag on."""
        self.everybody = {name: self.api.acting(sub=name, scopes=(*ALL_SCOPES, "admin")) for name in _ACTORS}
        self.ann = self.everybody["ann"]
        self.project = self.ann.project()
        self.tasks = [
            self.ann.ok(self.ann.post(f"/v1/projects/{self.project}/tasks", {"title": "T"}), 201)["id"]
            for _ in range(2)
        ]
        self.ann.ok(self.ann.request("PUT", _FLAG, json={"state": "on"}), 200)
        self.model = RuleOfOne()
        self.mirror: dict[str, dict[str, Any]] = {}
        self.seen = len(self.ann.events(self.project))
        self.due: list[tuple[str, str]] | set[tuple[str, str]] = []

    def teardown(self) -> None:
        """The flag is everybody's: leave it as it was."""
        self.api.acting(scopes=("admin",)).request("PUT", _FLAG, json={"state": "on"})

    def _pick(self, number: int, *, live: bool) -> str | None:
        ids = [id_ for id_, known in self.model.sessions.items() if not (live and known.deleted)]
        return ids[number % len(ids)] if ids else None

    @rule(
        actor=st.sampled_from(_ACTORS),
        task=st.integers(0, 1),
        phase=st.sampled_from(_PHASES),
        debug=st.booleans(),
        wish=wishes,
        confirm=st.sampled_from(["none", "live", "live", "some", "wrong"]),
        number=picks,
    )
    def start(
        self, actor: str, task: int, phase: str, debug: bool, wish: dict[str, Any], confirm: str, number: int
    ) -> None:
        """Start, with any confirmation."""
        place = (self.tasks[task], phase, debug)
        live, some = self.model.live(place), self._pick(number, live=False)
        confirmed = {"none": None, "live": live[0] if live else None, "some": some, "wrong": _WRONG}[confirm]
        body = {**wish, "phase": phase, "debug": debug}
        if confirmed is not None:
            body["confirm"] = {"session_id": confirmed}
        status, outcome = self.model.answer(place, body)
        answer = self.everybody[actor].post(f"/v1/tasks/{place[0]}/sessions", body)
        document = answer.json()
        assert (answer.status_code, document.get("outcome") or document.get("code")) == (status, outcome), document
        if status == 201:
            assert document["session"]["user"] == actor
            self.due = self.model.start(place, wish["model"], document["session"]["id"])
        elif outcome == "existing":
            assert document["session"]["id"] == live[0]
        elif "confirm" in document:
            assert document["confirm"] == {"session_id": live[0]}

    @rule(actor=st.sampled_from(_ACTORS), number=picks, changes=patches)
    def patch(self, actor: str, number: int, changes: dict[str, Any]) -> None:
        """Change a session, live or not."""
        id_ = self._pick(number, live=False)
        if id_ is None:
            return
        status, code = self.model.patched(id_, changes)
        answer = self.everybody[actor].patch(f"/v1/sessions/{id_}", changes)
        assert (answer.status_code, answer.json().get("code", "")) == (status, code), answer.text
        if status == 200:
            known = self.model.sessions[id_]
            metadata = known.metadata | changes.get("metadata", {})
            self.due = self.model.change(id_, status=changes.get("status", known.status), metadata=metadata)

    @rule(number=picks, count=st.integers(1, 3), fence=st.sampled_from([None, 0, -1]))
    def append(self, number: int, count: int, fence: int | None) -> None:
        """Append output, with the right fence, an old one, or none."""
        id_ = self._pick(number, live=True)
        if id_ is None:
            return
        known = self.model.sessions[id_]
        headers = {} if fence is None else {"X-Session-Fence": str(known.fence + fence)}
        body = {"chunks": [{"text": "x"}] * count}
        answer = self.ann.post(f"/v1/sessions/{id_}/output", body, headers=headers)
        if fence == -1:
            assert (answer.status_code, answer.json()["code"]) == (409, "fenced")
            return
        assert answer.json() == {"first": known.output + 1, "last": known.output + count}
        self.model.sessions[id_] = replace(known, output=known.output + count)
        self.due = [("session.output", id_)]

    @rule(actor=st.sampled_from(_ACTORS), number=picks)
    def delete(self, actor: str, number: int) -> None:
        """Delete a session, perhaps again."""
        id_ = self._pick(number, live=False)
        if id_ is not None:
            assert self.everybody[actor].delete(f"/v1/sessions/{id_}").status_code == 204
            self.due = self.model.delete(id_)

    @rule(name=st.sampled_from(["a", "b", "c/d"]), registered=st.booleans())
    def register(self, name: str, registered: bool) -> None:
        """Register a model, or delete it."""
        path = f"/v1/projects/{self.project}/models/{name}"
        if registered:
            assert self.ann.request("PUT", path, json={}).status_code in (200, 201)
        else:
            assert self.ann.delete(path).status_code == (204 if name in self.model.models else 404)
            if name not in self.model.models:
                return
        self.due = self.model.register(name, registered=registered)

    @rule(single=st.booleans())
    def switch(self, single: bool) -> None:
        """Switch the flag."""
        answer = self.ann.request("PUT", _FLAG, json={"state": "on" if single else "off"})
        assert answer.status_code == 200
        self.due = self.model.switch(single=single)

    @rule(task=st.integers(0, 1), wish=models, stale=st.booleans(), number=picks)
    def bulk(self, task: int, wish: dict[str, Any], stale: bool, number: int) -> None:
        """Replace all phases of a task and delete a session with one request."""
        items, expected, due = [], [], []
        for phase in _PHASES:
            live = self.model.live((self.tasks[task], phase, False))
            confirm = {"session_id": live[0] if live and not stale else _WRONG}
            body = {"model": wish, "phase": phase, "confirm": confirm}
            items.append({"task_id": self.tasks[task], **body})
            expected.append(self.model.answer((self.tasks[task], phase, False), {**body, "on_conflict": "replace"}))
        gone = self._pick(number, live=False)
        deleting = [] if gone is None else [{"session_id": gone}]
        answer = self.ann.post(f"/v1/projects/{self.project}/sessions/bulk", {"replace": items, "delete": deleting})
        assert answer.status_code == 207, answer.text
        document = answer.json()
        found = [(item["status"], item.get("outcome") or item["problem"]["code"]) for item in document["replace"]]
        assert found == expected
        for phase, item in zip(_PHASES, document["replace"], strict=True):
            if item["status"] == 201:
                due += self.model.start((self.tasks[task], phase, False), wish, item["session"]["id"])
        if gone is not None:
            assert document["delete"] == [{"status": 204}]
            due += self.model.delete(gone)
        self.due = due

    @invariant()
    def all_agree(self) -> None:
        """The log tells what was done and nothing else; what it amounts to and what is shown is what the model has."""
        if not hasattr(self, "model"):
            return
        due, self.due = self.due, []
        events = self.ann.events(self.project)
        fresh, self.seen = events[self.seen :], len(events)
        told = [(event["type"], event.get("session_id") or "") for event in fresh]
        assert (sorted(told) == sorted(due)) if isinstance(due, set) else (told == due), (told, due)
        assert [int(event["position"].partition(":")[2]) for event in events] == list(range(1, len(events) + 1))
        for event in fresh:
            self._reflect(event, settling=isinstance(due, set))
        for id_, known in self.model.sessions.items():
            expected = known.shown()
            if known.deleted:  # its model's fate after its end is read, not told
                expected = {name: value for name, value in expected.items() if name != "model"}
            assert {name: self.mirror[id_][name] for name in expected} == expected
        for task in self.tasks:
            shown = self.ann.ok(self.ann.get(f"/v1/tasks/{task}/sessions"), 200)["data"]
            live = {id_: known for id_, known in self.model.sessions.items() if not known.deleted}
            wanted = {id_: known.shown() for id_, known in live.items() if known.place[0] == task}
            assert {one["id"]: {name: one[name] for name in wanted[one["id"]]} for one in shown} == wanted

    def _reflect(self, event: dict[str, Any], *, settling: bool) -> None:
        data, id_ = event["data"], event.get("session_id")
        if id_ is None:
            return
        if event["type"] == "session.output":
            self.mirror[id_] = self.mirror[id_] | {"output_seq": data["last"]}
            return
        for name in ("task_id", "phase", "updated_at", "version"):
            assert event[name] == data[name]
        assert (event["session_id"], event["model"]) == (data["id"], data["model"]["name"])
        assert data["version"] == self.mirror.get(id_, {"version": 0})["version"] + 1
        self.mirror[id_] = data
        if self.model.single and not settling:
            places = [
                (one["task_id"], one["phase"], one["debug"]) for one in self.mirror.values() if not one["deleted_at"]
            ]
            assert len(places) == len(set(places)), "an offset that shows two live sessions in one place"


@pytest.mark.timeout(300)  # a failure is made small before it is told
def test_whatever_is_done_the_rule_holds(api: Api) -> None:
    """Starts, replacements, patches, output, deletions, bulk, model deletions and flag flips agree with the model."""
    machine = type(f"Sessions{uuid4().hex}", (Sessions,), {"api": api})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
