"""Versions of a project: each names a session, and follows the head of its chain."""

from typing import Any

import pytest

from support.api import Api, problem
from support.chains import ANOTHER_ID, Chain, fenced, given

MEMBERS = "id project_id number session_id ai_session_id ai_session_created_at ai_session_last_used_at created_at"


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


def made(chain: Chain) -> dict[str, Any]:
    """A new version that names the session."""
    path = f"/v1/projects/{chain.work.project}/versions"
    version: dict[str, Any] = chain.api.ok(chain.api.post(path, {"session_id": chain.id}), 201)
    return version


def latest(chain: Chain) -> dict[str, Any]:
    """The project's newest version."""
    path = f"/v1/projects/{chain.work.project}/versions/latest"
    version: dict[str, Any] = chain.api.ok(chain.api.get(path), 200)
    return version


def test_the_first_has_number_one(chain: Chain) -> None:
    """It has every member, and no id while the chain has no head."""
    problem(chain.api.get(f"/v1/projects/{chain.work.project}/versions/latest"), 404, "not_found")
    version = made(chain)
    assert version.keys() == set(MEMBERS.split())
    assert (version["number"], version["session_id"]) == (1, chain.id)
    assert version["project_id"] == chain.work.project
    nothing = [version[f"ai_session_{name}"] for name in ("id", "created_at", "last_used_at")]
    assert nothing == [None, None, None]
    assert latest(chain) == version
    assert [made(chain)["number"], made(chain)["number"]] == [2, 3]


def test_it_begins_with_the_head(chain: Chain) -> None:
    """A version of a session with a head has its id and its times at once."""
    row = chain.link("A")
    version = made(chain)
    assert version["ai_session_id"] == row["provider_session_id"]
    assert version["ai_session_last_used_at"] == row["last_used_at"]
    assert row["started_at"] <= version["ai_session_created_at"] <= row["ended_at"]


def test_it_follows_the_chain(chain: Chain) -> None:
    """Every newest id is the version's, and every use of it its last one."""
    version = made(chain)
    row = chain.opened()
    for name in "AB":
        new = given(name)
        row = chain.patched(row, new_provider_session_id=new)
        version = latest(chain)
        assert (version["ai_session_id"], version["ai_session_last_used_at"]) == (new, row["last_used_at"])
        assert version["ai_session_created_at"] == row["last_used_at"]
    row = chain.patched(row, usage={"tokens": 1})
    after = latest(chain)
    assert after["ai_session_last_used_at"] == row["last_used_at"]
    assert after["ai_session_created_at"] == version["ai_session_created_at"]


def test_an_id_that_is_kept_keeps_its_beginning(chain: Chain) -> None:
    """With a provider that keeps its id it is as old as its first use, and as fresh as its last."""
    only = given("A")
    chain.ended(chain.opened(), new_provider_session_id=only)
    made(chain)
    first = latest(chain)
    row = chain.ended(chain.opened(resumed_from=only), new_provider_session_id=only)
    after = latest(chain)
    assert after["ai_session_created_at"] == first["ai_session_created_at"]
    assert after["ai_session_last_used_at"] == row["last_used_at"] > first["ai_session_last_used_at"]


def test_only_the_head_is_followed(chain: Chain) -> None:
    """Branches, ends in an error and older links change nothing of a version."""
    old = chain.link("A")
    chain.link("B")
    version = made(chain)
    chain.ended(chain.opened(fork=True), new_provider_session_id=given("F"))
    chain.ended(chain.opened(), is_resumable=False)
    chain.patched(old, usage={"tokens": 1})
    assert latest(chain) == version


def test_the_newest_version_of_a_session_follows_it(chain: Chain) -> None:
    """An older version of the same session keeps what it had; the newest moves on."""
    first_id = chain.link("A")["provider_session_id"]
    first = made(chain)
    second = made(chain)
    chain.link("B")
    versions = [event["data"] for event in chain.events() if event["type"] == "version.updated"]
    assert {version["id"] for version in versions} == {second["id"]}
    assert first["ai_session_id"] == first_id != latest(chain)["ai_session_id"]


def test_versions_of_several_sessions_follow_their_own(api: Api) -> None:
    """Each version follows the session that it names, also when a newer one names another."""
    work = api.work()
    plan, run = Chain.begin(api, work=work, phase="plan"), Chain.begin(api, work=work, phase="run")
    of_plan, of_run = made(plan), made(run)
    assert (of_plan["number"], of_run["number"]) == (1, 2)
    row = plan.link("A")
    assert latest(plan) == of_run
    told = [event["data"] for event in plan.events() if event["type"] == "version.updated"]
    assert {version["id"] for version in told} == {of_plan["id"]}
    assert told[-1]["ai_session_id"] == row["provider_session_id"]


def test_each_change_is_an_event(chain: Chain) -> None:
    """Made and updated are told with the whole version, newest last, under the kind `version`."""
    version = made(chain)
    chain.link("A")
    told = [event for event in chain.events() if event["type"].startswith("version.")]
    assert told[0]["type"] == "version.created"
    assert told[0]["data"] == version
    assert {event["type"] for event in told[1:]} == {"version.updated"}
    assert told[-1]["data"] == latest(chain)
    assert {event["session_id"] for event in told} == {chain.id}


def test_what_did_not_change_is_not_sent_again(chain: Chain) -> None:
    """With its tag it is 304 until the version follows a step or another is made."""
    made(chain)
    path = f"/v1/projects/{chain.work.project}/versions/latest"
    tag = {"If-None-Match": chain.api.get(path).headers["etag"]}
    assert chain.api.get(path, headers=tag).status_code == 304
    chain.link("A")
    answer = chain.api.get(path, headers=tag)
    assert answer.status_code == 200
    made(chain)
    assert chain.api.get(path, headers={"If-None-Match": answer.headers["etag"]}).json()["number"] == 2


def test_a_key_makes_one(chain: Chain) -> None:
    """A repeated request gets the first answer."""
    path, body = f"/v1/projects/{chain.work.project}/versions", {"session_id": chain.id}
    first, again = (chain.api.post(path, body, headers=fenced(key="k")) for _ in range(2))
    assert (first.status_code, first.content) == (201, again.content)
    assert made(chain)["number"] == 2


def test_gone_sessions_are_not_named(api: Api) -> None:
    """A deleted session is 409 `session_deleted`, a replaced one `session_replaced`; versions they have stay."""
    chain = Chain.begin(api)
    version = made(chain)
    api.delete(chain.path)
    path = f"/v1/projects/{chain.work.project}/versions"
    problem(api.post(path, {"session_id": chain.id}), 409, "session_deleted")
    assert latest(chain) == version
    work = api.work()
    old, _ = work.replaced()
    answer = api.post(f"/v1/projects/{work.project}/versions", {"session_id": old["id"]})
    problem(answer, 409, "session_replaced")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"session_id": None}, 422),
        ({"session_id": 1}, 422),
        ({"session_id": "x" * 37}, 422),
        ({"session_id": []}, 422),
        ({"session_id": ANOTHER_ID, "number": 1}, 422),
        ({"session_id": "x"}, 404),
        ({"session_id": "\0"}, 404),
        ({"session_id": ""}, 404),
        ({"session_id": ANOTHER_ID}, 404),
    ],
)
def test_bad_requests(chain: Chain, body: Any, status: int) -> None:
    """What no session can be called is 422, what no session is called 404; no version is made."""
    path = f"/v1/projects/{chain.work.project}/versions"
    problem(chain.api.post(path, body), status, "invalid" if status == 422 else "not_found")
    problem(chain.api.get(f"{path}/latest"), 404, "not_found")


def test_ids_and_projects(chain: Chain) -> None:
    """An id in capitals is the same session; an unknown project is 404, and without the right it is 403."""
    path = f"/v1/projects/{chain.work.project}/versions"
    assert chain.api.ok(chain.api.post(path, {"session_id": chain.id.upper()}), 201)["session_id"] == chain.id
    problem(chain.api.post("/v1/projects/no-such/versions", {"session_id": chain.id}), 404, "not_found")
    problem(chain.api.get("/v1/projects/no-such/versions/latest"), 404, "not_found")
    reader = chain.acting(scopes=("sessions:read",))
    problem(reader.api.post(path, {"session_id": chain.id}), 403, "forbidden")
