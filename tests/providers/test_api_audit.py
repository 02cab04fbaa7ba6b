"""The audit trail: every decision and attempt, in order, in the transaction that it tells of."""

from datetime import datetime
from typing import Any

import pytest

from support.api import Api, problem
from support.chains import Chain, fenced, given

MEMBERS = {"id", "at", "project_id", "session_id", "user", "action", "data"}


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


def test_a_line_has_it_all(chain: Chain) -> None:
    """Who, when, where, what, and what about."""
    decision = chain.decided()
    (line,) = chain.audit()
    assert line.keys() == MEMBERS
    assert (line["project_id"], line["session_id"], line["user"]) == (chain.work.project, chain.id, "ann")
    assert line["action"] == "resume_decided"
    assert {name: line["data"][name] for name in decision} == decision
    assert datetime.fromisoformat(line["at"]).utcoffset() is not None


def test_the_story_of_an_update_that_worked(chain: Chain) -> None:
    """Decided, attempted, failed twice with a new decision each, succeeded; with the ids that it was about."""
    first = chain.link("A")
    decision, attempt = chain.taken()
    chain.failed(attempt, "locked")
    chain.failed(attempt, "timeout")
    new = given("B")
    chain.ended(attempt, new_provider_session_id=new)
    lines = chain.audit()
    assert [line["action"] for line in lines] == [
        "resume_decided",
        "resume_attempted",
        "resume_failed",
        "resume_decided",
        "resume_failed",
        "resume_decided",
        "resume_succeeded",
    ]
    decided = [line["data"] for line in lines if line["action"] == "resume_decided"]
    assert {(one["decision"], one["provider_session_id"]) for one in decided} == {
        ("resume", first["provider_session_id"])
    }
    failed = [line["data"] for line in lines if line["action"] == "resume_failed"]
    assert [one["reason"] for one in failed] == ["locked", "timeout"]
    for data in (lines[1]["data"], *failed, lines[-1]["data"]):
        assert data["provider_session"] == attempt["id"]
        assert data["resumed_from"] == first["provider_session_id"]
        assert data["fence"] == decision["fence"]
    assert lines[-1]["data"]["provider_session_id"] == new


def test_the_story_of_a_fallback(chain: Chain) -> None:
    """Decided, attempted, failed for good, decided to begin afresh; nothing succeeded after that."""
    chain.link("A")
    _, attempt = chain.taken()
    chain.failed(attempt, "not_found")
    chain.ended(attempt, new_provider_session_id=given("B"))
    lines = chain.audit()
    assert [line["action"] for line in lines] == [
        "resume_decided",
        "resume_attempted",
        "resume_failed",
        "resume_decided",
    ]
    assert (lines[-1]["data"]["decision"], lines[-1]["data"]["reason"]) == ("fresh", "not_resumable")


def test_a_resume_that_worked_at_once_is_told(chain: Chain) -> None:
    """An attempt that is begun with the id that the provider gave out for it has succeeded, and the trail says so."""
    first = chain.link("A")
    decision = chain.decided()
    wanted = {"resumed_from": first["provider_session_id"], "provider_session_id": given("B")}
    chain.ended(chain.opened(fence=decision["fence"], **wanted))
    assert chain.actions() == ["resume_decided", "resume_attempted", "resume_succeeded"]


def test_each_attempt_has_one_end(chain: Chain) -> None:
    """Succeeded once however often the id is told; an end in an error is told too; and who never came back is."""
    first = chain.link("A")
    _, attempt = chain.taken()
    for name in "BC":
        chain.patched(attempt, new_provider_session_id=given(name))
    chain.ended(attempt)
    chain.ended(attempt)
    assert chain.actions() == ["resume_decided", "resume_attempted", "resume_succeeded"]
    _, attempt = chain.taken()
    chain.ended(attempt, is_resumable=False)
    assert len(chain.actions()) == 6
    assert chain.actions()[3:5] == ["resume_decided", "resume_attempted"]
    assert chain.actions()[5] not in ("resume_succeeded", "resume_failed")
    last = chain.opened(resumed_from=first["provider_session_id"], lease_s=1)
    chain.closed(last)
    assert chain.actions()[6:] == ["resume_attempted", "abandoned"]


def test_every_decision_is_a_line(chain: Chain) -> None:
    """Fresh ones with their reason, branches marked, and what had been asked about."""
    chain.decided(fork=True)
    row = chain.link("A", structure_fingerprint="x")
    chain.decided(fork=True, structure_fingerprint="y")
    first, second = chain.audit()
    assert (first["data"]["reason"], first["data"]["fork"]) == ("none", True)
    assert (second["data"]["reason"], second["data"]["fork"]) == ("structure_changed", True)
    assert second["data"]["share_changed"] == 1.0
    assert second["data"]["head"]["provider_session_id"] == row["provider_session_id"]


def test_what_did_not_happen_is_no_line(chain: Chain) -> None:
    """Refusals that are no violations, waiting in vain and repeated requests add nothing."""
    chain.resume(headers=fenced(key="k"))
    before = chain.audit()
    chain.resume(headers=fenced(key="k"))
    problem(chain.resume(), 409, "session_being_modified")
    problem(chain.open(headers=fenced(0)), 409, "fenced")
    problem(chain.open(resumed_from=given("never")), 404, "not_found")
    chain.ended(chain.opened())
    assert chain.audit() == before


def test_the_server_is_nobody(chain: Chain) -> None:
    """What the server did by itself has no user."""
    row = chain.opened(lease_s=1)
    chain.closed(row)
    (line,) = chain.audit()
    assert (line["action"], line["user"]) == ("abandoned", None)
    assert line["data"]["provider_session"] == row["id"]


def test_newest_first_in_pages(chain: Chain) -> None:
    """Pages of any size show each line once, newest first, with times that no two lines of a session share."""
    for _ in range(7):
        chain.decided(fork=True)
    path = f"/v1/projects/{chain.work.project}/audit"
    whole = chain.api.ok(chain.api.get(path), 200)["data"]
    times = [line["at"] for line in whole]
    assert times == sorted(set(times), reverse=True)
    for limit in (1, 3, 7, 200):
        found: list[Any] = []
        params: dict[str, Any] = {"limit": limit}
        while True:
            page = chain.api.ok(chain.api.get(path, params=params), 200)
            assert len(page["data"]) <= limit
            found += page["data"]
            if page["next"] is None:
                break
            params["after"] = page["next"]
        assert found == whole


def test_it_is_filtered(api: Api) -> None:
    """By session, in any spelling of its id, by user, and by both; what there is not has no lines."""
    work = api.work()
    ann = Chain.begin(api, work=work, phase="plan")
    bob = Chain.begin(api.acting(sub="bob"), work=work.__class__(api.acting(sub="bob"), work.project, work.task))
    ann.decided()
    bob.decided()
    problem(bob.acting(sub="ann").resume(), 403, "session_security_violation")
    path = f"/v1/projects/{work.project}/audit"

    def found(**params: str) -> list[tuple[str, str]]:
        page = api.ok(api.get(path, params=params), 200)
        return [(line["session_id"], line["user"]) for line in page["data"]]

    assert found() == [(bob.id, "ann"), (bob.id, "bob"), (ann.id, "ann")]
    assert found(session=ann.id) == found(session=ann.id.upper()) == [(ann.id, "ann")]
    assert found(user="ann") == [(bob.id, "ann"), (ann.id, "ann")]
    assert found(session=bob.id, user="ann") == [(bob.id, "ann")]
    assert found(session="x") == found(session="") == found(user="nobody") == []
    assert found(session=ann.id, user="bob") == []


def test_a_deleted_session_keeps_its_lines(chain: Chain) -> None:
    """The trail is of what happened, whatever became of the session."""
    chain.decided()
    before = chain.audit()
    chain.api.delete(chain.path)
    assert chain.audit() == before


def test_what_did_not_change_is_not_sent_again(chain: Chain) -> None:
    """With its tag a page is 304 until there is a line more."""
    chain.decided()
    path = f"/v1/projects/{chain.work.project}/audit"
    tag = {"If-None-Match": chain.api.get(path).headers["etag"]}
    assert chain.api.get(path, headers=tag).status_code == 304
    chain.decided(fork=True)
    assert chain.api.get(path, headers=tag).status_code == 200


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "invalid"),
        ("limit=201", 422, "invalid"),
        ("after=x", 400, "bad_cursor"),
        (f"user={'x' * 201}", 422, "invalid"),
        ("user=%00", 422, "invalid"),
        ("session=%00", 422, "invalid"),
        ("session=%ff", 400, "bad_unicode"),
        ("unknown=1", 422, "invalid"),
        ("session=a&session=b", 422, "invalid"),
    ],
)
def test_bad_parameters_are_refused(chain: Chain, query: str, status: int, code: str) -> None:
    """Each with the code of its mistake."""
    problem(chain.api.get(f"/v1/projects/{chain.work.project}/audit?{query}"), status, code)


def test_an_unknown_project_has_none(api: Api) -> None:
    """404."""
    problem(api.get("/v1/projects/no-such/audit"), 404, "not_found")
