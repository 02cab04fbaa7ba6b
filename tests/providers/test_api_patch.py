"""Telling of a provider session: its newest id, what it used, that it ended."""

from typing import Any

import pytest

from support.api import Api, problem
from support.chains import ANOTHER_ID, Chain, each, fenced, given

NOTHING = {"tokens": None, "cached_tokens": None, "turns": None, "cost_usd": None}
NO_COUNTS: tuple[Any, ...] = (-1, 1.0, 1.5, "1", True, 10**12 + 1, 2**62, [], {})
COUNTS = ("tokens", "cached_tokens", "turns")

BAD = [
    *each("new_provider_session_id", 1, "", "x" * 201, "\0", [], {}, False),
    *each("usage", 1, "x", [], True, {"unknown": 1}),
    *each("usage", *(usage for name in COUNTS for usage in each(name, *NO_COUNTS))),
    *each("usage", *each("cost_usd", -0.01, 10**6 + 1, "1", True, [], {})),
    *each("ended", 1, 0, "true", None, [], {}),
    *each("is_resumable", 1, 0, "true", [], {}),
    *each("structure_fingerprint", 1, "", "x" * 201, "\0", [], False, {"a": 1}, {"a": None}, {"a": {"b": "c"}}),
    *each("structure_fingerprint", {"p" * 4097: "h"}, {"p": "h" * 4097}),
    *each("saved", 1, "x", [], {"unknown": 1}, {"cost_usd": "1"}, {"seconds": True}),
    *each("saved", *each("seconds", 10**6 + 1, -(10**6) - 1)),
    *each("unknown", 1),
    *each("state", "ended"),
    *each("fork", True),
]


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


def test_usage_replaces_what_was_told(chain: Chain) -> None:
    """Values are totals so far; what is left out stays, null says that nobody knows."""
    row = chain.opened()
    usage = {"tokens": 10, "cached_tokens": 4, "turns": 1, "cost_usd": 0.25}
    assert chain.patched(row, usage=usage)["usage"] == usage
    assert chain.patched(row, usage={"tokens": 15})["usage"] == usage | {"tokens": 15}
    assert chain.patched(row, usage={})["usage"] == usage | {"tokens": 15}
    assert chain.patched(row, usage={"cost_usd": None})["usage"] == usage | {"tokens": 15, "cost_usd": None}
    assert chain.patched(row, usage={"tokens": 1})["usage"]["tokens"] == 1
    assert chain.row(row)["usage"]["tokens"] == 1


@pytest.mark.parametrize(
    "usage",
    [
        {"tokens": 0, "cached_tokens": 0, "turns": 0, "cost_usd": 0},
        {"tokens": 10**12, "cached_tokens": 10**12, "turns": 10**12, "cost_usd": 10**6},
        {"cost_usd": 1},
        {"cost_usd": 0.000000001},
        {"cost_usd": 123456.123456789},
    ],
)
def test_amounts_are_kept(chain: Chain, usage: dict[str, Any]) -> None:
    """From nothing to the bounds, and costs to nine decimals."""
    assert chain.patched(chain.opened(), usage=usage)["usage"] == NOTHING | usage


def test_a_new_id_is_the_head_at_once(chain: Chain) -> None:
    """What the provider gave out last is what is resumed next, before the provider session has ended."""
    row = chain.opened()
    for name in "ABC":
        new = given(name)
        assert chain.patched(row, new_provider_session_id=new)["provider_session_id"] == new
        assert chain.head_id() == new


def test_the_same_id_is_a_step_too(chain: Chain) -> None:
    """A provider that keeps its id tells that it knows it: a made one is the head then, and a resumed one goes over."""
    row = chain.opened()
    same = row["provider_session_id"]
    assert chain.patched(row, new_provider_session_id=same)["provider_session_id"] == same
    assert chain.head_id() == same
    following = chain.opened(resumed_from=same)
    chain.patched(following, new_provider_session_id=same)
    assert chain.chain()["head"]["id"] == following["id"]


def test_usage_alone_moves_nothing(chain: Chain) -> None:
    """What it used says nothing of whether the provider knows its id."""
    row = chain.opened()
    chain.patched(row, usage={"tokens": 1})
    assert chain.head_id() is None
    first = chain.link("A")
    following = chain.opened(resumed_from=first["provider_session_id"])
    chain.patched(following, usage={"tokens": 1})
    assert chain.chain()["head"]["id"] == first["id"]


def test_an_end_without_error_proves_the_id(chain: Chain) -> None:
    """A made id, or a resumed one, is the head once its provider session ended well."""
    row = chain.opened()
    after = chain.ended(row)
    assert (after["state"], after["is_resumable"]) == ("ended", True)
    assert after["ended_at"] == after["last_used_at"]
    assert chain.head_id() == row["provider_session_id"]
    following = chain.opened(resumed_from=row["provider_session_id"])
    chain.ended(following)
    assert chain.chain()["head"]["id"] == following["id"]


def test_an_end_with_error_moves_nothing(chain: Chain) -> None:
    """A made id that ended in an error is never offered; the head stays the link that was there."""
    first = chain.link("A")
    bad = chain.opened()
    after = chain.ended(bad, is_resumable=False)
    assert (after["state"], after["is_resumable"]) == ("ended", False)
    assert chain.chain()["head"]["id"] == first["id"]
    assert chain.decided()["provider_session_id"] == first["provider_session_id"]


def test_an_id_that_was_given_out_before_the_error_is_not_resumed(chain: Chain) -> None:
    """A new id is the head; when its provider session ends as not resumable, the next one begins afresh, and no older
    link is offered."""
    chain.link("A")
    row = chain.opened()
    chain.patched(row, new_provider_session_id=given("B"))
    chain.ended(row, is_resumable=False)
    decision = chain.decided()
    assert (decision["decision"], decision["reason"]) == ("fresh", "not_resumable")


def test_an_end_does_not_bring_an_older_id_back(chain: Chain) -> None:
    """Of two at once the newest id that was told is the head, whichever ends last, and however."""
    for error in ({}, {"is_resumable": False}):
        first, second = chain.opened(), chain.opened()
        chain.patched(first, new_provider_session_id=given("A"))
        newest = chain.patched(second, new_provider_session_id=given("B"))
        chain.ended(first, **error)
        assert chain.chain()["head"] == newest
        chain.ended(second)
        assert chain.head_id() == newest["provider_session_id"]


def test_an_id_that_is_told_again_is_good_again(chain: Chain) -> None:
    """A provider that tells an id knows it: it is resumable, and nothing has failed, unless the same word says so."""
    row = chain.opened()
    same = given("A")
    chain.patched(row, new_provider_session_id=same)
    chain.failed(row, "not_found")
    assert chain.row(row)["is_resumable"] is False
    after = chain.patched(row, new_provider_session_id=same)
    assert (after["is_resumable"], after["resume_failure_count"]) == (True, 0)
    after = chain.ended(row, new_provider_session_id=same, is_resumable=False)
    assert after["is_resumable"] is False
    assert chain.decided()["reason"] == "not_resumable"


def test_all_of_it_at_once(chain: Chain) -> None:
    """One request tells the new id, the usage, the fingerprint and the end."""
    new = given("A")
    usage = {"tokens": 5, "cached_tokens": 1, "turns": 2, "cost_usd": 0.5}
    after = chain.ended(chain.opened(), new_provider_session_id=new, usage=usage, structure_fingerprint="f" * 200)
    assert (after["provider_session_id"], after["usage"], after["state"]) == (new, usage, "ended")
    assert after["structure_fingerprint"] == "f" * 200
    assert chain.chain()["head"] == after


def test_closing_twice_is_no_error(chain: Chain) -> None:
    """A repeated end is 200 and changes neither the moment of the end nor the head."""
    row = chain.opened()
    first = chain.ended(row, new_provider_session_id=given("A"))
    assert chain.ended(row) == first
    assert chain.ended(row, usage={"tokens": 3}) == first | {"usage": NOTHING | {"tokens": 3}}
    assert chain.head_id() == first["provider_session_id"]


def test_a_late_word_of_an_older_link_does_not_move_the_head(chain: Chain) -> None:
    """An ended provider session that is the head no more may be told what it used; the head stays the newest."""
    old, new = chain.link("A"), chain.link("B")
    assert chain.patched(old, usage={"tokens": 7})["usage"]["tokens"] == 7
    chain.patched(old, ended=True)
    assert chain.chain()["head"]["id"] == new["id"]


def test_an_empty_change_is_a_sign_of_life(chain: Chain) -> None:
    """It changes nothing that is shown, and is no event."""
    row, before = chain.opened(), len(chain.events())
    assert chain.patched(row) == row
    assert chain.patched(row, ended=False, usage={}) == row
    after = chain.ended(row)
    events = len(chain.events())
    assert events == before + 1
    assert chain.patched(row) == after
    assert len(chain.events()) == events


def test_a_map_is_kept_as_its_digest(chain: Chain) -> None:
    """Of a map of paths its digest is shown; an opaque hash as it is; the newest counts."""
    row = chain.opened()
    paths = {"a.py": "1", "dir/ä\0b": "2", "": ""}
    shown = chain.patched(row, structure_fingerprint=paths)["structure_fingerprint"]
    assert shown.startswith("sha256:")
    assert len(shown) == 71
    again = dict(reversed(paths.items()))
    assert chain.patched(row, structure_fingerprint=again)["structure_fingerprint"] == shown
    assert chain.patched(row, structure_fingerprint={})["structure_fingerprint"] != shown
    assert chain.patched(row, structure_fingerprint="opaque")["structure_fingerprint"] == "opaque"


def test_a_map_may_be_large_but_not_larger(chain: Chain) -> None:
    """A map within the bound is kept whole; over it it is 422 that says what to send instead."""
    row = chain.opened()
    fits = {f"path/{number:05}": "h" * 20 for number in range(6000)}
    chain.patched(row, structure_fingerprint=fits)
    found = problem(chain.patch(row, structure_fingerprint=fits | {"x": "h" * 4000, "y" * 4000: ""} | {
        f"more/{number:05}": "h" * 20 for number in range(3000)
    }), 422, "invalid")  # fmt: skip
    assert "structure_fingerprint" in found["detail"]
    assert "hash" in found["detail"]
    many = {str(number): "" for number in range(20_001)}
    found = problem(chain.patch(row, structure_fingerprint=many), 422, "invalid")
    assert "structure_fingerprint" in found["detail"]


def test_bad_fields_are_named(chain: Chain) -> None:
    """What a field cannot have is 422 that names the field, and nothing is changed."""
    row = chain.opened()
    for bad in BAD:
        found = problem(chain.patch(row, **bad), 422, "invalid")
        (name,) = bad
        assert found["errors"][0]["field"].split(".")[0] == name, bad
        assert name in found["detail"], bad
    assert chain.row(row) == row


@pytest.mark.parametrize("raw", [b'{"usage": {"cost_usd": NaN}}', b'{"usage": {"tokens": 1e999}}', b'{"ended":'])
def test_what_is_no_json_is_refused(chain: Chain, raw: bytes) -> None:
    """NaN, numbers that no float holds and torn texts are 400."""
    row = chain.opened()
    answer = chain.api.request("PATCH", f"/v1/provider-sessions/{row['id']}", content=raw)
    problem(answer, 400, "bad_json")


@pytest.mark.parametrize("wanted", ["x", ANOTHER_ID, "%00", "a" * 300])
def test_an_unknown_one_is_not_found(api: Api, wanted: str) -> None:
    """One that is not there, or whose id is none, is 404."""
    problem(api.patch(f"/v1/provider-sessions/{wanted}", {}), 404, "not_found")
    problem(api.post(f"/v1/provider-sessions/{wanted}/resume-failed", {"reason": "other"}), 404, "not_found")


def test_its_own_id_is_not_the_providers(chain: Chain) -> None:
    """The provider's id does not name the row: 404."""
    row = chain.opened()
    problem(chain.patch({"id": row["provider_session_id"]}, ended=True), 404, "not_found")
    assert chain.patch({"id": row["id"].upper()}).status_code == 200


def test_an_old_fence_is_refused(chain: Chain) -> None:
    """Who names a fence that was taken over is told so, and changes nothing."""
    row = chain.opened()
    chain.decided()
    found = problem(chain.patch(row, headers=fenced(row["fence"]), ended=True), 409, "fenced")
    assert found["fence"] == row["fence"] + 1
    problem(chain.patch(row, headers=fenced(row["fence"] + 2)), 422, "invalid")
    assert chain.row(row)["state"] == "open"


def test_who_was_taken_over_may_tell_facts_only(chain: Chain) -> None:
    """Its usage and its end are facts, and kept; a new id of its is refused as fenced, and the head stays."""
    first = chain.link("A")
    row = chain.opened(resumed_from=first["provider_session_id"])
    chain.decided()
    assert chain.patched(row, usage={"tokens": 9})["usage"]["tokens"] == 9
    late = given("late")
    problem(chain.patch(row, new_provider_session_id=late), 409, "fenced")
    problem(chain.patch(row, structure_fingerprint="x"), 409, "fenced")
    problem(chain.patch(row, is_resumable=False), 409, "fenced")
    assert chain.row(row)["provider_session_id"] == first["provider_session_id"]
    assert chain.ended(row)["state"] == "ended"
    assert chain.chain()["head"]["id"] == first["id"]


def test_deleted_and_replaced_sessions_still_hear_the_end(api: Api) -> None:
    """What was begun before is ended and counted, though its session is gone; all else is refused with what became of
    the session, and its head stays."""
    for gone in ("session_deleted", "session_replaced"):
        chain = Chain.begin(api)
        row = chain.opened()
        if gone == "session_deleted":
            api.delete(chain.path)
        else:
            wish: dict[str, Any] = {"on_conflict": "replace", "confirm": {"session_id": chain.id}}
            api.ok(chain.work.start("m-2", **wish), 201)
        for change in ({"new_provider_session_id": given("A")}, {"structure_fingerprint": "x"}, {}):
            problem(chain.patch(row, **change), 409, gone)  # type: ignore[arg-type]  # each takes its own
        assert chain.patched(row, usage={"tokens": 10})["state"] == "open"
        after = chain.ended(row, usage={"tokens": 11})
        assert (after["state"], after["usage"]["tokens"]) == ("ended", 11)
        totals = api.ok(api.get(f"/v1/tasks/{chain.work.task}/metrics"), 200)
        assert totals["total_tokens"] == 11
        assert chain.head_id() is None


def test_a_key_changes_once(chain: Chain) -> None:
    """A repeated request gets the first answer, and undoes nothing that came after it."""
    row = chain.opened()
    body = {"usage": {"tokens": 1}}
    first = chain.patch(row, headers=fenced(key="k"), **body)
    chain.patched(row, usage={"tokens": 2})
    again = chain.patch(row, headers=fenced(key="k"), **body)
    assert (again.status_code, again.content) == (200, first.content)
    assert chain.row(row)["usage"]["tokens"] == 2
    problem(chain.patch(row, headers=fenced(key="k"), ended=True), 422, "idempotency_key_reused")


def test_rights(chain: Chain) -> None:
    """Without the right to write it is 403."""
    row = chain.opened()
    problem(chain.acting(scopes=("sessions:read",)).patch(row), 403, "forbidden")
