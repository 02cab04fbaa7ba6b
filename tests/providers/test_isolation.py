"""Session, project and user must match: who means another's is refused, it is written down, and nothing else is."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from support.api import ALL_SCOPES, Api, problem
from support.chains import SECURITY, Chain, fenced, given

KEYS = [None, "k"]


def refused(answer: httpx2.Response) -> None:
    """It is the security violation, word for word, and nothing is told of whom it would have met."""
    found = problem(answer, 403, "session_security_violation")
    assert found["detail"] == SECURITY
    assert found["retryable"] is False
    assert found.keys() == {"type", "title", "status", "code", "detail", "request_id", "retryable"}


def state(chain: Chain) -> Any:
    """All that a session's chain shows, and every event of its project."""
    return chain.session(), chain.chain(limit=200), chain.events()


def violations(chain: Chain) -> list[dict[str, Any]]:
    """What the trail says of refusals."""
    return [line for line in chain.audit() if line["action"] == "security_violation"]


def attack(victim: Chain, request: Callable[[dict[str, str]], httpx2.Response], *, key: str | None, user: str) -> Any:
    """Make a request that is a violation, twice: each is refused and audited, and nothing else is written. What the
    line tells."""
    before, lines = state(victim), victim.audit()
    for count in (1, 2):
        refused(request(fenced(key=key)))
        assert state(victim) == before
        added = victim.audit()[len(lines) :]
        assert [(line["action"], line["user"], line["session_id"]) for line in added] == (
            [("security_violation", user, victim.id)] * count
        )
    return added[-1]["data"]


@pytest.mark.parametrize("key", KEYS)
def test_another_user_may_do_nothing(api: Api, key: str | None) -> None:
    """Opening, changing, closing, resuming, branching, reporting a failure and making a version of another's session
    are refused each; its own user is not hindered."""
    chain = Chain.begin(api)
    row = chain.link("A")
    running = chain.opened()
    eve = chain.acting(sub="eve")
    tries: list[Callable[[dict[str, str]], httpx2.Response]] = [
        lambda headers: eve.open(headers=headers),
        lambda headers: eve.open(headers=headers, resumed_from=row["provider_session_id"]),
        lambda headers: eve.open(headers=headers, provider_session_id=given("E"), fork=True),
        lambda headers: eve.patch(running, headers=headers),
        lambda headers: eve.patch(running, headers=headers, new_provider_session_id=given("E")),
        lambda headers: eve.patch(running, headers=headers, ended=True, usage={"tokens": 1}),
        lambda headers: eve.resume(headers=headers),
        lambda headers: eve.resume(headers=headers, fork=True),
        lambda headers: eve.resume(headers=headers, wait_s=30),
        lambda headers: eve.fail(running, "not_found", headers=headers),
        lambda headers: eve.fail(row, "locked", headers=headers),
        lambda headers: eve.api.post(
            f"/v1/projects/{chain.work.project}/versions", {"session_id": chain.id}, headers=headers
        ),
    ]
    for number, request in enumerate(tries):
        numbered = None if key is None else f"{key}{number}"
        assert attack(chain, request, key=numbered, user="eve")["what"] == "user"
    assert len(violations(chain)) == 2 * len(tries)
    assert chain.ended(running)["state"] == "ended"
    assert chain.decided()["provider_session_id"] == running["provider_session_id"]


@pytest.mark.parametrize("key", KEYS)
def test_an_id_is_one_sessions(api: Api, key: str | None) -> None:
    """An id that another session of the project has is neither given, nor told as new, nor resumed, nor branched."""
    owner = Chain.begin(api, phase="plan")
    taken = owner.link("A")["provider_session_id"]
    older = owner.link("B")["provider_session_id"]
    thief = Chain.begin(api, work=owner.work, phase="run")
    running = thief.opened()
    for wanted in (taken, older):
        tries: list[Callable[[dict[str, str]], httpx2.Response]] = [
            lambda headers, it=wanted: thief.open(headers=headers, provider_session_id=it),  # type: ignore[misc]  # default
            lambda headers, it=wanted: thief.open(headers=headers, resumed_from=it),  # type: ignore[misc]  # the same
            lambda headers, it=wanted: thief.open(headers=headers, resumed_from=it, fork=True),  # type: ignore[misc]  # the same
            lambda headers, it=wanted: thief.patch(running, headers=headers, new_provider_session_id=it),  # type: ignore[misc]  # the same
            lambda headers, it=wanted: thief.patch(  # type: ignore[misc]  # the same
                running, headers=headers, new_provider_session_id=it, usage={"tokens": 1}, ended=True
            ),
        ]
        for number, request in enumerate(tries):
            numbered = None if key is None else f"{key}{number}{wanted}"
            told = attack(thief, request, key=numbered, user="ann")
            assert (told["what"], told["provider_session_id"]) == ("session", wanted)
    assert owner.head_id() == older
    assert thief.head_id() is None
    thief.ended(running)


@pytest.mark.parametrize("key", KEYS)
def test_an_id_of_a_project_that_one_knows_is_refused(api: Api, key: str | None) -> None:
    """An id that a session of another project has, which the caller may see, is another's: refused and audited here."""
    owner = Chain.begin(api)
    taken = owner.link("A")["provider_session_id"]
    thief = Chain.begin(api)
    running = thief.opened()
    tries: list[Callable[[dict[str, str]], httpx2.Response]] = [
        lambda headers: thief.open(headers=headers, provider_session_id=taken),
        lambda headers: thief.open(headers=headers, resumed_from=taken),
        lambda headers: thief.patch(running, headers=headers, new_provider_session_id=taken),
    ]
    for number, request in enumerate(tries):
        numbered = None if key is None else f"{key}{number}"
        told = attack(thief, request, key=numbered, user="ann")
        assert (told["what"], told["provider_session_id"]) == ("project", taken)
    assert violations(owner) == []


def test_what_one_does_not_know_is_no_obstacle(api: Api) -> None:
    """Who may not see a project learns nothing of its ids: the same id in a project of one's own is as any other, and
    to resume it where one does not have it is 404."""
    owner = Chain.begin(api)
    taken = owner.link("A")["provider_session_id"]
    mine = Chain.begin(api)
    stranger = mine.acting(sub="ann", projects=[mine.work.project])
    problem(stranger.open(resumed_from=taken), 404, "not_found")
    problem(stranger.open(resumed_from=given("never")), 404, "not_found")
    assert mine.audit() == []
    row = stranger.opened(provider_session_id=taken)
    assert mine.head_id() == taken
    stranger.ended(row)
    following = stranger.opened(resumed_from=taken)
    assert following["resumed_from"] == taken
    assert owner.head_id() == taken


def test_what_one_may_not_see_is_not_there(api: Api) -> None:
    """Of another's project nothing is found: 404 on every path, as for what there is not, and nothing is audited."""
    chain = Chain.begin(api)
    row = chain.link("A")
    other = api.project()
    stranger = chain.acting(projects=[other])
    project = f"/v1/projects/{chain.work.project}"
    before = state(chain)
    answers = [
        stranger.open(),
        stranger.patch(row, ended=True),
        stranger.resume(),
        stranger.resume(fork=True, wait_s=60),
        stranger.fail(row, "locked"),
        *(
            stranger.api.get(path)
            for path in (
                f"{chain.path}/chain",
                f"{chain.path}/metrics",
                f"/v1/tasks/{chain.work.task}/metrics",
                f"{project}/metrics",
                f"{project}/milestones/m/metrics",
                f"{project}/audit",
                f"{project}/versions/latest",
            )
        ),
        stranger.api.post(f"{project}/versions", {"session_id": chain.id}),
        stranger.api.post(f"/v1/projects/{other}/versions", {"session_id": chain.id}),
    ]
    missing = problem(stranger.api.get("/v1/sessions/01234567-89ab-7def-8123-456789abcdef/chain"), 404, "not_found")
    for answer in answers:
        found = problem(answer, 404, "not_found")
        assert found | {"request_id": ""} == missing | {"request_id": ""}
    assert state(chain) == before
    assert violations(chain) == []


@pytest.mark.parametrize("key", KEYS)
def test_a_version_names_a_session_of_its_project(api: Api, key: str | None) -> None:
    """A session of another project that the caller may see is refused and audited with the session; no version is
    made in either."""
    chain, other = Chain.begin(api), api.project()
    path = f"/v1/projects/{other}/versions"
    told = attack(chain, lambda headers: api.post(path, {"session_id": chain.id}, headers=headers), key=key, user="ann")
    assert (told["what"], told["named"]) == ("project", other)
    problem(api.get(f"{path}/latest"), 404, "not_found")
    problem(api.get(f"/v1/projects/{chain.work.project}/versions/latest"), 404, "not_found")


def test_a_made_id_is_bound_too(api: Api) -> None:
    """An id that the server made belongs to its session like any other, also one of a fallback, and an older one."""
    owner = Chain.begin(api, phase="plan")
    first = owner.opened()
    made = first["provider_session_id"]
    owner.ended(first)
    attempt = owner.opened(resumed_from=made)
    owner.failed(attempt, "not_found")
    again = owner.row(attempt)["provider_session_id"]
    owner.patched(attempt, new_provider_session_id=given("B"))
    thief = Chain.begin(api, work=owner.work, phase="run")
    for wanted in (made, again):
        refused(thief.open(resumed_from=wanted))
        refused(thief.open(provider_session_id=wanted))


def test_an_id_stays_bound_when_its_session_is_gone(api: Api) -> None:
    """A replaced session's ids are not its successor's: what it knew is not passed on by accident."""
    chain = Chain.begin(api)
    old = chain.link("A")["provider_session_id"]
    wish: dict[str, Any] = {"on_conflict": "replace", "confirm": {"session_id": chain.id}}
    new = Chain(api, chain.work, api.ok(chain.work.start("m-2", **wish), 201)["session"]["id"])
    refused(new.open(resumed_from=old))
    refused(new.open(provider_session_id=old))
    assert [line["data"]["provider_session_id"] for line in violations(new)] == [old, old]


def test_ids_differ_by_every_character(api: Api) -> None:
    """Case, blanks and lookalikes make another id; each is its own session's."""
    work, name = api.work(), given("A")
    plan, run = Chain.begin(api, work=work, phase="plan"), Chain.begin(api, work=work, phase="run")
    plan.opened(provider_session_id=name)
    for other in (name.lower(), f"{name} ", f" {name}", f"\u0410{name[1:]}"):
        assert run.opened(provider_session_id=other)["provider_session_id"] == other


def test_a_refusal_takes_no_place_in_the_queue(api: Api) -> None:
    """Another user's resume leaves nothing behind that the session's own user would have to wait for."""
    chain = Chain.begin(api)
    refused(chain.acting(sub="eve").resume())
    assert chain.decided()["fence"] == 2


def test_only_an_auditor_reads_the_trail(api: Api) -> None:
    """Without `sessions:audit` it is 403, whatever else one may."""
    chain = Chain.begin(api)
    path = f"/v1/projects/{chain.work.project}/audit"
    scopes = tuple(scope for scope in ALL_SCOPES if scope != "sessions:audit")
    problem(chain.acting(scopes=scopes).api.get(path), 403, "forbidden")
    api.ok(chain.acting(scopes=("sessions:audit",)).api.get(path), 200)
