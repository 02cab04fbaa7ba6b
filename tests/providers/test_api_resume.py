"""Being told what to resume, and taking the session over for it."""

from pathlib import Path
from typing import Any

import pytest

from sessioncast_server.flags.rules import Flag, bucket_of
from support.api import Api, Work, problem
from support.chains import ANOTHER_ID, FLAG, Chain, each, fenced, given
from support.serving import served

BAD = [
    *each("structure_fingerprint", 1, "", "x" * 201, "\0", [], False, {"a": 1}, {"p" * 4097: ""}),
    *each("fork", 1, "true", None, []),
    *each("wait_s", -1, 60.1, 2**62, "1", True, [], {}),
    *each("unknown", 1),
    *each("operation", "update"),
]


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


def test_resume_tells_all_there_is_to_know(chain: Chain) -> None:
    """The id, the row that has it, its age, and the fence that the session has since; nothing about a reason."""
    row = chain.link("A")
    answer = chain.resume()
    decision = chain.api.ok(answer, 200)
    age = decision.pop("age_s")
    expected = {"decision": "resume", "provider_session_id": row["provider_session_id"], "id": row["id"], "fence": 2}
    assert decision == expected
    assert 0 <= age < 3600
    assert chain.session()["fence"] == 2
    assert answer.headers["X-Position"]


def test_fresh_tells_why(chain: Chain) -> None:
    """The reason and the fence, and no id that might be resumed by mistake."""
    assert chain.decided() == {"decision": "fresh", "reason": "none", "fence": 2}


def test_an_ended_session_is_pending_again(chain: Chain) -> None:
    """A terminal session goes on: `pending`, not ended, one version later; told as `session.resumed`."""
    for status in ("completed", "failed", "cancelled"):
        before = chain.api.ok(chain.api.patch(chain.path, {"status": status}), 200)
        assert before["ended_at"]
        row = chain.opened(fence=chain.decided()["fence"])
        after = chain.session()
        assert (after["status"], after["active"], after["ended_at"]) == ("pending", True, None)
        assert (after["version"], after["fence"]) == (before["version"] + 1, before["fence"] + 1)
        (resumed,) = [event for event in chain.events() if event["type"] == "session.resumed"][-1:]
        assert (resumed["data"]["status"], resumed["data"]["fence"]) == ("pending", after["fence"])
        chain.ended(row)


def test_an_active_session_keeps_its_status(chain: Chain) -> None:
    """Only the fence of a session that is under way rises."""
    before = chain.api.ok(chain.api.patch(chain.path, {"status": "running"}), 200)
    chain.decided()
    after = chain.session()
    assert (after["status"], after["version"], after["fence"]) == ("running", before["version"], before["fence"] + 1)


def test_an_ended_session_is_pending_again_for_a_fork(chain: Chain) -> None:
    """A branch too brings a terminal session back, and takes it from nobody: the fence stays."""
    chain.link("A")
    before = chain.api.ok(chain.api.patch(chain.path, {"status": "completed"}), 200)
    decision = chain.decided(fork=True)
    after = chain.session()
    assert (after["status"], after["fence"], decision["fence"]) == ("pending", before["fence"], before["fence"])


def test_another_agent_is_another_provider(chain: Chain) -> None:
    """An id of one agent is not given to another; to the same one again it is."""

    def agent(name: str | None) -> None:
        chain.api.ok(chain.api.patch(chain.path, {"agent": name}), 200)

    def reason() -> Any:
        decision, row = chain.taken()
        chain.ended(row, is_resumable=False)
        return decision.get("reason")

    agent("a")
    chain.link("A")
    assert reason() is None
    agent("b")
    assert reason() == "provider_changed"
    agent("a")
    assert reason() is None


def test_changed_files_begin_afresh(chain: Chain) -> None:
    """With three of ten paths changed it is resumed, with four it is not; without a map on either side nobody knows."""
    ten = {f"{number}.py": "1" for number in range(10)}
    chain.link("A", structure_fingerprint=ten)

    def reason(structure: Any) -> Any:
        wish = {} if structure is None else {"structure_fingerprint": structure}
        return chain.decided(fork=True, **wish).get("reason")

    assert reason(None) is None
    assert reason(ten) is None
    assert reason(ten | {f"{number}.py": "2" for number in range(3)}) is None
    assert reason(ten | {f"{number}.py": "2" for number in range(4)}) == "structure_changed"
    assert reason({f"{number}.py": "1" for number in range(7)}) is None
    assert reason({f"{number}.py": "1" for number in range(6)}) == "structure_changed"
    assert reason(ten | {f"new/{number}": "1" for number in range(4)}) is None  # 4 of 14
    assert reason(ten | {f"new/{number}": "1" for number in range(5)}) == "structure_changed"  # 5 of 15
    assert reason("opaque") == "structure_changed"
    digest = chain.chain()["head"]["structure_fingerprint"]
    assert reason(digest) is None
    chain.link("B")
    assert reason(ten) is None


def test_opaque_hashes_are_equal_or_not(chain: Chain) -> None:
    """Of two hashes it can only be told whether they differ."""
    chain.link("A", structure_fingerprint="one")
    assert chain.decided(fork=True, structure_fingerprint="one")["decision"] == "resume"
    assert chain.decided(fork=True, structure_fingerprint="two")["reason"] == "structure_changed"


def test_the_newest_fingerprint_counts(chain: Chain) -> None:
    """What the newest link left is compared, also when it is another kind than that of the one before."""
    chain.link("A", structure_fingerprint={"a": "1"})
    second = chain.link("B", structure_fingerprint={"a": "2"})
    assert (
        chain.decided(fork=True, structure_fingerprint={"a": "2"})["provider_session_id"]
        == (second["provider_session_id"])
    )
    assert chain.decided(fork=True, structure_fingerprint={"a": "1"})["reason"] == "structure_changed"


def test_what_is_known_of_files_is_handed_on(chain: Chain) -> None:
    """One that resumes knows the files as the link before left them, until it tells itself; a fresh start does not,
    nor does one that fell back to it."""
    paths = {"a": "1", "b": "1"}
    chain.link("A", structure_fingerprint=paths)

    def reason() -> Any:
        return chain.decided(fork=True, structure_fingerprint={"a": "2", "b": "2"}).get("reason")

    for name in "BC":
        _, row = chain.taken()
        chain.ended(row, new_provider_session_id=given(name))
        assert reason() == "structure_changed"
    _, row = chain.taken()
    chain.failed(row, "not_found")
    chain.ended(row, new_provider_session_id=given("D"))
    assert chain.row(row)["structure_fingerprint"] is None
    assert reason() is None


def test_the_bounds_are_settings(database_url: str, tmp_path: Path) -> None:
    """Where an id is stale at once, may not fail at all, or files not change at all, it is left alone for that."""
    for env, reason in (
        ({"SESSIONCAST_RESUME_STALE_S": "0.000001"}, "stale"),
        ({"SESSIONCAST_RESUME_CHANGED_SHARE": "0"}, "structure_changed"),
        ({"SESSIONCAST_RESUME_FAILURES_MAX": "1"}, "too_many_failures"),
    ):
        with served(tmp_path, database_url, **env) as api:
            chain = Chain.begin(api)
            row = chain.link("A", structure_fingerprint={str(number): "" for number in range(100)})
            if reason == "too_many_failures":
                chain.failed(row, "locked")
            changed = {str(number): "" for number in range(99)}
            decision = chain.decided(structure_fingerprint=changed)
            assert (decision["decision"], decision["reason"]) == ("fresh", reason)


def test_with_the_flag_off_ids_are_still_recorded(admin: Api) -> None:
    """Off: every decision is `disabled`, whatever the head; ids go on being recorded, and are offered once it is on."""
    chain = Chain.begin(admin)
    first = chain.link("A")
    admin.ok(admin.request("PUT", FLAG, json={"state": "off"}), 200)
    decision, row = chain.taken()
    assert (decision["decision"], decision["reason"]) == ("fresh", "disabled")
    assert "provider_session_id" not in decision
    new = given("B")
    chain.ended(row, new_provider_session_id=new)
    assert chain.head_id() == new
    assert Chain.begin(admin).decided()["reason"] == "disabled"
    assert chain.failed(first, "locked")["reason"] == "disabled"
    admin.ok(admin.request("PUT", FLAG, json={"state": "on"}), 200)
    assert chain.decided()["provider_session_id"] == new


def test_a_percentage_is_of_projects(admin: Api) -> None:
    """With the flag on for some projects their sessions are resumed, and those of all others are not."""
    chains = [Chain.begin(admin) for _ in range(6)]
    for chain in chains:
        chain.link("A")
    buckets = sorted(bucket_of(Flag.SESSION_RESUME, chain.work.project) for chain in chains)
    percentage = buckets[3] / 100
    admin.ok(admin.request("PUT", FLAG, json={"state": "percentage", "percentage": percentage}), 200)
    for chain in chains:
        on = bucket_of(Flag.SESSION_RESUME, chain.work.project) < buckets[3]
        assert chain.decided().get("reason") == (None if on else "disabled")


def test_a_fork_takes_nothing(chain: Chain) -> None:
    """A branch is told at once what to resume, while another has the turn; the fence stays, and the turn too."""
    row = chain.link("A")
    decision, attempt = chain.taken()
    forked = chain.decided(fork=True)
    assert (forked["provider_session_id"], forked["fence"]) == (row["provider_session_id"], decision["fence"])
    branch = chain.opened("branch", fork=True, resumed_from=row["provider_session_id"], fence=forked["fence"])
    chain.ended(branch, new_provider_session_id=given("F"))
    assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
    new = given("B")
    chain.ended(attempt, new_provider_session_id=new)
    assert chain.head_id() == new


def test_a_fork_goes_on_when_the_session_is_taken_over(chain: Chain) -> None:
    """A branch works beside the chain, so who takes the session over does not stop it: it may tell its new ids, its
    failures and its end, and none of it moves the head."""
    first = chain.link("A")
    forked = chain.decided(fork=True)
    fence = forked["fence"]
    branch = chain.opened("branch", fork=True, fence=fence, resumed_from=first["provider_session_id"])
    other = chain.opened("branch", fork=True, fence=fence, resumed_from=first["provider_session_id"])
    _, update = chain.taken()
    new = given("F")
    assert chain.patched(branch, fence=fence, new_provider_session_id=new)["provider_session_id"] == new
    assert chain.api.ok(chain.fail(other, "locked", headers=fenced(fence)), 200)["decision"] == "resume"
    main = chain.ended(update, new_provider_session_id=given("B"))
    assert chain.ended(branch, fence=fence)["state"] == "ended"
    assert chain.ended(other, fence=fence)["state"] == "ended"
    late = chain.opened("branch", fork=True, fence=fence)
    assert chain.ended(late, fence=fence, new_provider_session_id=given("G"))["state"] == "ended"
    assert chain.chain()["head"] == main


def test_of_a_deleted_model_nothing_is_resumed(chain: Chain) -> None:
    """A session whose model was deleted is not resumed, as a branch neither, and is not taken from anybody."""
    chain.link("A")
    model = f"/v1/projects/{chain.work.project}/models/m-1"
    chain.api.request("PUT", model, json={})
    chain.api.delete(model)
    before = chain.session()
    problem(chain.resume(), 422, "model_not_found")
    problem(chain.resume(fork=True), 422, "model_not_found")
    assert chain.session() == before
    chain.api.request("PUT", model, json={})
    assert chain.decided()["decision"] == "resume"


def test_deleted_and_replaced_sessions_are_not_resumed(api: Api) -> None:
    """409 with what became of them; the successor of a replaced one has a chain of its own."""
    chain = Chain.begin(api)
    row = chain.link("A")
    api.delete(chain.path)
    problem(chain.resume(), 409, "session_deleted")
    problem(chain.resume(fork=True), 409, "session_deleted")
    problem(chain.fail(row, "locked"), 409, "session_deleted")
    work: Work = api.work()
    old, new = work.replaced()
    assert problem(Chain(api, work, old["id"]).resume(), 409, "session_replaced")["replaced_by"] == new["id"]
    assert Chain(api, work, new["id"]).decided()["reason"] == "none"


def test_bad_fields_are_named(chain: Chain) -> None:
    """What a field cannot have is 422 that names the field, and nothing is taken."""
    for bad in BAD:
        (name,) = bad
        answer = chain.api.post(f"{chain.path}/resume", bad)
        found = problem(answer, 422, "invalid")
        assert found["errors"][0]["field"].split(".")[0] == name, bad
        assert name in found["detail"], bad
    for raw in (b'{"wait_s": NaN}', b'{"wait_s": 1e999}'):
        problem(chain.api.post(f"{chain.path}/resume", content=raw), 400, "bad_json")
    for raw in (b"[]", b'"x"', b"1"):
        problem(chain.api.post(f"{chain.path}/resume", content=raw), 422, "invalid")
    assert chain.session()["fence"] == 1


def test_a_map_over_the_bound_is_refused(chain: Chain) -> None:
    """422 that says to send a hash."""
    large = {f"{number:0200}": "h" * 100 for number in range(1000)}
    found = problem(chain.resume(structure_fingerprint=large), 422, "invalid")
    assert "structure_fingerprint" in found["detail"]


def test_an_empty_body_will_do(chain: Chain) -> None:
    """All fields have defaults."""
    assert chain.api.ok(chain.api.post(f"{chain.path}/resume"), 200)["decision"] == "fresh"


def test_an_unknown_session_is_not_found(api: Api) -> None:
    """404, for what is no id too."""
    for wanted in (ANOTHER_ID, "x", "%00"):
        problem(api.post(f"/v1/sessions/{wanted}/resume", {}), 404, "not_found")


def test_a_key_takes_the_turn_once(chain: Chain) -> None:
    """A repeated request is given the same decision with the same fence: an answer that was lost costs no turn."""
    chain.link("A")
    first, again = (chain.resume(headers=fenced(key="k")) for _ in range(2))
    assert (first.status_code, first.content) == (200, again.content)
    assert chain.session()["fence"] == 2
    assert chain.actions().count("resume_decided") == 1


def test_rights(chain: Chain) -> None:
    """Without the right to write it is 403."""
    problem(chain.acting(scopes=("sessions:read",)).resume(), 403, "forbidden")
