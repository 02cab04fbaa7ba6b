"""Beginning a provider session over HTTP."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from support.api import Api, problem
from support.chains import ANOTHER_ID, Chain, each, fenced, given

MEMBERS = (
    "id provider_session_id session_id task_id milestone operation iteration resumed_from is_resumable"
    " resume_failure_count usage structure_fingerprint fork fence state started_at last_used_at ended_at"
)
USAGE = {"tokens", "cached_tokens", "turns", "cost_usd"}
DEEP: Any = 1
for _ in range(70):
    DEEP = [DEEP]

BAD = [
    *each("operation", None, 1, "", "x" * 201, "a\0b", [], {}, True),
    *each("provider_session_id", 1, "", "x" * 201, "\0", [], {}, False),
    *each("resumed_from", 1, "", "x" * 201, "\0", [], {}, False),
    *each("milestone", 1, "", "x" * 201, "\0", [], {}, False),
    *each("iteration", -1, 2**31, 2**62, 1.0, 1.5, "1", True, [], {}),
    *each("lease_s", 0, 0.999, -1, 3600.1, 2**62, "60", True, [], {}),
    *each("fork", 1, 0, "true", None, [], {}),
    *each("unknown", 1),
    *each("id", ANOTHER_ID),
    *each("usage", {"tokens": 1}),
]


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


def test_it_is_shown_whole(chain: Chain) -> None:
    """The answer has every member, open and unused, with the session's fence and the node's time."""
    row = chain.opened("iteration", iteration=3)
    assert row.keys() == set(MEMBERS.split())
    assert row["usage"] == dict.fromkeys(USAGE)
    assert UUID(row["id"]) != UUID(row["provider_session_id"])
    expected: dict[str, Any] = {
        "session_id": chain.id,
        "task_id": chain.work.task,
        "milestone": None,
        "operation": "iteration",
    }
    expected |= {"iteration": 3, "resumed_from": None, "is_resumable": True, "resume_failure_count": 0}
    expected |= {"structure_fingerprint": None, "fork": False, "fence": 1, "state": "open", "ended_at": None}
    assert {name: row[name] for name in expected} == expected
    assert row["started_at"] == row["last_used_at"]
    assert datetime.fromisoformat(row["started_at"]).utcoffset() is not None
    assert chain.chain()["data"] == [row]


def test_a_made_id_is_fresh_and_not_the_head(chain: Chain) -> None:
    """Without an id one is made, another each time; it is not offered for resume: no provider has told of it."""
    made = {chain.opened()["provider_session_id"] for _ in range(3)}
    assert len({UUID(one) for one in made}) == 3
    assert chain.head_id() is None
    assert chain.decided()["reason"] == "none"


def test_a_given_id_is_the_head_at_once(chain: Chain) -> None:
    """An id that is given is one that a provider knows: what was begun is found again whatever happens next."""
    wanted = given("A")
    row = chain.opened(provider_session_id=wanted)
    assert row["provider_session_id"] == wanted
    assert chain.head_id() == wanted
    assert chain.chain()["head"] == row


def test_what_is_resumed_stays_the_head(chain: Chain) -> None:
    """One that resumes has the id that it wants to resume; until that is seen to work, the head stays the old link."""
    first = chain.link("A")
    row = chain.opened(resumed_from=first["provider_session_id"])
    assert row["provider_session_id"] == row["resumed_from"] == first["provider_session_id"]
    assert chain.chain()["head"]["id"] == first["id"]


def test_a_given_id_wins_over_what_is_resumed(chain: Chain) -> None:
    """With both, it has the given one, and that is the head."""
    first, new = chain.link("A"), given("B")
    row = chain.opened(resumed_from=first["provider_session_id"], provider_session_id=new)
    assert (row["provider_session_id"], row["resumed_from"]) == (new, first["provider_session_id"])
    assert chain.head_id() == new


def test_the_id_that_is_resumed_may_be_named_twice(chain: Chain) -> None:
    """Given the same id as `resumed_from`, nothing is known yet of whether it works: the head stays."""
    first = chain.link("A")
    same = first["provider_session_id"]
    row = chain.opened(resumed_from=same, provider_session_id=same)
    assert row["provider_session_id"] == same
    assert chain.chain()["head"]["id"] == first["id"]


def test_a_fork_is_never_the_head(chain: Chain) -> None:
    """A branch is listed in the chain and marked; the head stays, given id or not."""
    first = chain.link("A")
    row = chain.opened(fork=True, resumed_from=first["provider_session_id"], provider_session_id=given("F"))
    assert row["fork"] is True
    assert chain.chain()["head"]["id"] == first["id"]
    assert [one["id"] for one in chain.chain()["data"]] == [first["id"], row["id"]]


def test_a_milestones_has_no_task(chain: Chain) -> None:
    """With a milestone it counts for that and not for its session's task."""
    row = chain.opened(milestone="M 1")
    assert (row["task_id"], row["milestone"]) == (None, "M 1")
    tasks = chain.api.ok(chain.api.get(f"/v1/tasks/{chain.work.task}/metrics"), 200)
    assert tasks["num_iterations"] == 0


@pytest.mark.parametrize("iteration", [0, 1, 2**31 - 1, None])
def test_iterations_are_whole_numbers(chain: Chain, iteration: int | None) -> None:
    """From 0 on, or none; what was sent is shown."""
    assert chain.opened(iteration=iteration)["iteration"] == iteration


@pytest.mark.parametrize("name", ["operation", "provider_session_id", "milestone"])
def test_names_are_free_texts(chain: Chain, name: str) -> None:
    """Up to 200 characters of anything but NUL are kept as they are."""
    for text in ("x" * 168 + given("")[1:], given("ä/?#%00\n\t'\";--😀")):
        wish: dict[str, Any] = {name: text}
        assert chain.opened(**wish)[name] == text


def test_bad_fields_are_named(chain: Chain) -> None:
    """What a field cannot have is 422 that names the field, and nothing is begun."""
    for bad in BAD:
        found = problem(chain.open(**({"operation": "x"} | bad)), 422, "invalid")
        (name,) = bad
        assert found["errors"][0]["field"].split(".")[0] == name, bad
        assert name in found["detail"], bad
    assert chain.chain()["data"] == []


@pytest.mark.parametrize("body", [[], "x", 1, None, {"operation": DEEP}, {}])
def test_bad_bodies_are_refused(chain: Chain, body: Any) -> None:
    """What is no object, too deep, or has no operation, is refused."""
    answer = chain.api.request("POST", f"{chain.path}/provider-sessions", json=body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["detail"]
    assert chain.chain()["data"] == []


@pytest.mark.parametrize("raw", [b'{"operation": NaN}', b'{"operation": "x", "lease_s": NaN}', b'{"lease_s": 1e999}'])
def test_numbers_that_are_none_are_refused(chain: Chain, raw: bytes) -> None:
    """NaN and numbers that no float holds are 400."""
    problem(chain.api.post(f"{chain.path}/provider-sessions", content=raw), 400, "bad_json")


@pytest.mark.parametrize("wanted", ["x", ANOTHER_ID, "1" * 36, "%00", "a" * 300])
def test_an_unknown_session_is_not_found(api: Api, wanted: str) -> None:
    """A session that is not there, or whose id is none, is 404."""
    problem(api.post(f"/v1/sessions/{wanted}/provider-sessions", {"operation": "x"}), 404, "not_found")


def test_an_unknown_id_cannot_be_resumed(chain: Chain) -> None:
    """An id that nobody has recorded is 404, and nothing is begun: it may be a typing mistake."""
    problem(chain.open(resumed_from=given("never")), 404, "not_found")
    assert chain.chain()["data"] == []


@pytest.mark.parametrize("fence", ["x", "-1", "1.0", "", "9" * 30])
def test_a_fence_is_a_whole_number(chain: Chain, fence: str) -> None:
    """Anything else is 422 that names the header."""
    found = problem(chain.open(headers={"X-Session-Fence": fence}), 422, "invalid")
    assert "X-Session-Fence" in found["detail"]


def test_an_old_fence_is_refused(chain: Chain) -> None:
    """Who has lost the session begins nothing in it; one that is ahead of it was never given out."""
    old = chain.session()["fence"]
    chain.decided()
    found = problem(chain.open(headers=fenced(old)), 409, "fenced")
    assert found["fence"] == old + 1
    problem(chain.open(headers=fenced(old + 2)), 422, "invalid")
    assert chain.opened(fence=old + 1)["fence"] == old + 1


def test_deleted_and_replaced_sessions_take_none(api: Api) -> None:
    """A soft-deleted session is 409 `session_deleted`, a replaced one `session_replaced` that says by what."""
    chain = Chain.begin(api)
    api.delete(chain.path)
    problem(chain.open(), 409, "session_deleted")
    work = api.work()
    old, new = work.replaced()
    found = problem(Chain(api, work, old["id"]).open(), 409, "session_replaced")
    assert found["replaced_by"] == new["id"]
    assert Chain(api, work, new["id"]).opened()["state"] == "open"


def test_an_ended_session_still_takes_one(chain: Chain) -> None:
    """A terminal session is still the phase's live one: what is done for it is recorded, and its status stays."""
    chain.api.ok(chain.api.patch(chain.path, {"status": "failed"}), 200)
    assert chain.opened()["state"] == "open"
    assert chain.session()["status"] == "failed"


def test_a_key_begins_one(chain: Chain) -> None:
    """A repeated request gets the first answer; another body with its key is 422."""
    first, again = (chain.open(headers=fenced(key="k")) for _ in range(2))
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["X-Position"] == again.headers["X-Position"]
    problem(chain.open("other", headers=fenced(key="k")), 422, "idempotency_key_reused")
    assert len(chain.chain()["data"]) == 1


def test_rights_and_media_types(chain: Chain) -> None:
    """Without the right to write it is 403, without a token 401, and without `application/json` 415."""
    reader = chain.acting(scopes=("sessions:read",))
    problem(reader.open(), 403, "forbidden")
    problem(chain.open(headers={"Authorization": ""}), 401, "unauthenticated")
    problem(chain.open(headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type")
