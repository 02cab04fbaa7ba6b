"""What is told of provider sessions: each change once, so that who follows has what who asks is shown."""

from typing import Any

import pytest

from support.api import Api
from support.chains import Chain, given
from support.waiting import STALL_S

TOTALS = "total_tokens total_cached_tokens total_turns total_cost cost_known num_iterations avg_tokens_per_iteration"


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


class Told:
    """The events of a project that are new since this was last asked."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._seen = len(chain.events())

    def new(self) -> list[dict[str, Any]]:
        """Whole events."""
        events = self._chain.events()
        added, self._seen = events[self._seen :], len(events)
        return added

    def types(self) -> list[str]:
        """Their types."""
        return [event["type"] for event in self.new()]


def provider_data(event: dict[str, Any]) -> dict[str, Any]:
    """The provider session in an event."""
    return {name: value for name, value in event["data"].items() if name not in ("head_provider_session_id", "totals")}


def test_each_change_is_one_event(chain: Chain) -> None:
    """Start, new id, usage and end are one event each, with the whole provider session as it was answered, the head
    that the session has since, and what filters need."""
    told = Told(chain)
    row = chain.opened()
    steps: list[tuple[str, dict[str, Any]]] = [
        ("provider_session.started", {}),
        ("provider_session.updated", {"new_provider_session_id": given("A")}),
        ("provider_session.updated", {"usage": {"tokens": 3, "cost_usd": 0.5}}),
        ("provider_session.updated", {"structure_fingerprint": "x"}),
        ("provider_session.ended", {"ended": True}),
    ]
    for type_, body in steps:
        row = chain.patched(row, **body) if body else row
        (event,) = told.new()
        assert event["type"] == type_
        assert provider_data(event) == row
        assert event["data"]["head_provider_session_id"] == chain.head_id()
        assert (event["project_id"], event["task_id"], event["session_id"], event["phase"]) == (
            chain.work.project,
            chain.work.task,
            chain.id,
            "run",
        )


def test_the_position_is_that_of_the_event(chain: Chain) -> None:
    """What a change was answered with as its position is where its event stands."""
    link = chain.link("A")
    answers = [chain.open(), chain.resume()]
    row = answers[0].json()
    answers += [chain.patch(row, usage={"tokens": 1}), chain.fail(link, "locked"), chain.patch(row, ended=True)]
    positions = [event["position"] for event in chain.events()]
    for answer in answers:
        assert answer.status_code < 300, answer.text
        assert answer.headers["X-Position"] in positions
    assert positions[-1] == answers[-1].headers["X-Position"]


def test_an_end_tells_the_tasks_totals(chain: Chain) -> None:
    """Each end, in whatever way, has the totals of the task as they are shown then; of a milestone's there are none."""
    other = Chain.begin(chain.api, work=chain.work, phase="plan")
    told = Told(chain)
    path = f"/v1/tasks/{chain.work.task}/metrics"
    for number, one in enumerate((chain, other, chain)):
        one.ended(one.opened(), usage={"tokens": 10**number, "cost_usd": 0.1, "turns": 1, "cached_tokens": 1})
        shown = chain.api.ok(chain.api.get(path), 200)
        assert told.new()[-1]["data"]["totals"] == {name: shown[name] for name in TOTALS.split()}
    late = chain.opened(lease_s=STALL_S)
    chain.patched(late, usage={"tokens": 1000})
    chain.closed(late)
    event = told.new()[-1]
    assert (event["type"], event["data"]["state"]) == ("provider_session.ended", "abandoned")
    assert event["data"]["totals"]["total_tokens"] == 1111
    chain.patched(late, usage={"tokens": 2000})  # told late: what followers added up must not stay wrong
    assert told.new()[-1]["data"]["totals"]["total_tokens"] == 2111
    chain.ended(chain.opened(milestone="M"), usage={"tokens": 5})
    assert told.new()[-1]["data"]["totals"] is None


def test_a_decision_is_told(chain: Chain) -> None:
    """A resume is told as such, and as the decision with what it was about, each with the whole session; a branch that
    takes nothing is the decision alone."""
    row = chain.link("A")
    told = Told(chain)
    decision = chain.decided()
    resumed, decided = told.new()
    assert (resumed["type"], decided["type"]) == ("session.resumed", "session.resume_decided")
    assert resumed["data"] == chain.session()
    about = decided["data"].pop("resume")
    assert decided["data"] == resumed["data"]
    assert {name: about[name] for name in decision} == decision
    assert (about["user"], about["fork"], about["head"]["id"]) == ("ann", False, row["id"])
    chain.decided(fork=True)
    (decided,) = told.new()
    assert (decided["type"], decided["data"]["resume"]["fork"]) == ("session.resume_decided", True)


def test_a_failure_is_told_with_its_link(chain: Chain) -> None:
    """The link as it is since, why, and which attempt it was; then what the attempt is now, and the next decision."""
    link = chain.link("A")
    _, attempt = chain.taken()
    told = Told(chain)
    chain.failed(attempt, "locked")
    failed, decided = told.new()
    assert (failed["type"], decided["type"]) == ("provider_session.resume_failed", "session.resume_decided")
    assert failed["data"]["id"] == link["id"]
    assert (failed["data"]["reason"], failed["data"]["attempt"]) == ("locked", attempt["id"])
    assert failed["data"]["resume_failure_count"] == 1
    chain.failed(attempt, "not_found")
    assert [event["data"]["id"] for event in told.new()[:2]] == [link["id"], attempt["id"]]
    assert chain.row(attempt)["resumed_from"] is None


def test_nothing_is_told_of_nothing(chain: Chain) -> None:
    """Reads, signs of life, refusals and waiting in vain are no events."""
    row = chain.opened(fence=chain.decided()["fence"])
    told = Told(chain)
    chain.patched(row)
    chain.chain()
    chain.audit()
    assert chain.resume().status_code == 409
    assert chain.open(headers={"X-Session-Fence": "0"}).status_code == 409
    assert chain.open(resumed_from=given("never")).status_code == 404
    assert chain.acting(sub="eve").open().status_code == 403
    assert chain.acting(sub="eve").resume().status_code == 403
    assert told.new() == []


def poll(chain: Chain, **params: Any) -> dict[str, Any]:
    """A poll of the project."""
    path = f"/v1/projects/{chain.work.project}/events"
    answer = chain.api.get(path, params=params, headers={"Accept": "application/json"})
    found: dict[str, Any] = chain.api.ok(answer, 200)
    return found


def test_kinds_are_told_apart(chain: Chain) -> None:
    """`provider` is all of a chain, `version` what versions do, `session` the session and what is decided for it."""
    epoch = chain.api.get(f"/v1/projects/{chain.work.project}").headers["X-Position"].partition(":")[0]
    path = f"/v1/projects/{chain.work.project}/versions"
    chain.api.ok(chain.api.post(path, {"session_id": chain.id}), 201)
    chain.link("A")
    _, attempt = chain.taken()
    chain.failed(attempt, "not_found")
    chain.ended(attempt)

    def kinds(wanted: str) -> set[str]:
        page = poll(chain, position=f"{epoch}:0", snapshot="never", kinds=wanted)
        assert page["state"] == "resumed"
        return {event["type"] for event in page["events"]}

    assert kinds("version") == {"version.created", "version.updated"}
    assert kinds("session") == {"session.created", "session.resumed", "session.resume_decided"}
    assert kinds("provider") == {
        "provider_session.started",
        "provider_session.updated",
        "provider_session.ended",
        "provider_session.resume_failed",
    }
    whole = {event["type"] for event in chain.events()}
    assert whole == kinds("version") | kinds("session") | kinds("provider") | {"task.created"}


def test_a_snapshot_has_the_heads(api: Api) -> None:
    """Of the project's live sessions, of a task's, of a session's; as the chain shows them; and no other links."""
    work = api.work()
    plan, run = Chain.begin(api, work=work, phase="plan"), Chain.begin(api, work=work, phase="run")
    plan.link("A")
    heads = {chain.id: chain.link("B") for chain in (plan, run)}
    run.opened()
    Chain.begin(api, work=work, phase="verify").opened()

    def shown(**params: Any) -> list[dict[str, Any]]:
        page = poll(plan, snapshot="always", kinds="provider", **params)
        assert page["state"] == "snapshot"
        return sorted((one["data"] for one in page["resources"]), key=lambda row: str(row["id"]))

    def expected(*chains: Chain) -> list[dict[str, Any]]:
        return sorted((heads[chain.id] for chain in chains), key=lambda row: str(row["id"]))

    assert shown() == shown(task=work.task) == expected(plan, run)
    assert shown(session=run.id) == expected(run)
    api.delete(plan.path)
    assert shown() == shown(task=work.task) == expected(run)


def test_snapshot_and_events_tell_the_same_story(chain: Chain) -> None:
    """Who joins by a snapshot and follows, and who follows from the beginning, end with what a reader is shown."""
    begin = poll(chain, snapshot="always")
    joined = {one["data"]["id"]: one["data"] for one in begin["resources"]}
    chain.link("A")
    middle = poll(chain, snapshot="always")
    late = {one["data"]["id"]: one["data"] for one in middle["resources"]}
    _, attempt = chain.taken()
    chain.failed(attempt, "locked")
    chain.ended(attempt, new_provider_session_id=given("B"), usage={"tokens": 5})
    _, attempt = chain.taken()
    chain.failed(attempt, "corrupted")
    chain.patched(attempt, new_provider_session_id=given("C"))
    chain.ended(attempt)
    branch = chain.opened(fork=True, lease_s=1)
    chain.closed(branch)
    chain.opened()
    shown = {row["id"]: row for row in chain.chain(limit=200)["data"]}
    session = chain.session()
    for known, position in ((joined, begin["position"]), (late, middle["position"])):
        heads = []
        for event in poll(chain, position=position)["events"]:
            data = event["data"]
            if event["type"].startswith("provider_session."):
                extra = ("head_provider_session_id", "totals", "reason", "attempt")
                known[data["id"]] = {name: value for name, value in data.items() if name not in extra}
                heads.append(data["head_provider_session_id"])
            elif event["type"].startswith("session."):
                known[data["id"]] = data
        assert {row: known[row] for row in shown} == shown
        assert heads[-1] == session["head_provider_session_id"] == chain.head_id()
        followed = known[chain.id]
        assert {name: followed[name] for name in ("fence", "status", "version")} == {
            name: session[name] for name in ("fence", "status", "version")
        }
