"""Bearer tokens become principals, or 401."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from sessioncast_server.auth.principal import NOBODY, Principal, Scope
from sessioncast_server.auth.tokens import Authenticator, make_token, open_principal, principal_of
from sessioncast_server.problems import Problem

SECRET = "s" * 32
GOOD: dict[str, Any] = {"sub": "ann", "projects": ["web"], "scopes": ["sessions:read"], "exp": 4_000_000_000}


def signed(secret: str | None = None, algorithm: str = "HS256", **changes: Any) -> str:
    """A token with the good claims changed; None takes one away."""
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return jwt.encode(claims, secret or SECRET, algorithm)


async def refusal(authenticator: Authenticator, token: str) -> str:
    """The detail of the 401."""
    with pytest.raises(Problem) as caught:
        await authenticator.of_token(token)
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")
    return caught.value.detail


async def test_a_good_token_is_its_bearer() -> None:
    """All four claims arrive in the principal."""
    principal = await Authenticator(secret=SECRET).of_token(signed())
    assert principal == Principal("ann", frozenset({"web"}), frozenset({"sessions:read"}), 4e9)
    assert principal.may_see("web")
    assert not principal.may_see("other")


async def test_a_star_means_all_projects() -> None:
    """Only as a text: in a list it is no project id."""
    authenticator = Authenticator(secret=SECRET)
    assert (await authenticator.of_token(signed(projects="*"))).may_see("anything")
    assert "projects" in await refusal(authenticator, signed(projects=["*"]))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sub", ["", "x" * 201, "a\nb", "a\0", " ", 7, ["ann"], {}]),
        ("projects", ["web", "", 7, {}, True, [7], ["Web"], ["a b"], [""], [None], ["-a"], ["x" * 64]]),
        ("scopes", ["admin", 7, {}, [7], [""], ["a b"], ["x" * 101]]),
        ("exp", ["soon", [], {}, "4000000000.5x", 10**400, -(10**400), 2**53, 1e400, -1, float("nan"), True]),
        ("nbf", ["soon", [], {}, 10**400, 1e400, float("nan")]),
        ("iat", ["soon", [], {}, 10**400, 1e400, float("nan")]),
    ],
)
async def test_a_claim_of_another_type_is_401(name: str, values: list[Any]) -> None:
    """Never a 500, never a guess."""
    authenticator = Authenticator(secret=SECRET)
    for value in values:
        await refusal(authenticator, by_hand({"alg": "HS256"}, {**GOOD, name: value}))


@pytest.mark.parametrize("claim", sorted(GOOD))
async def test_every_claim_is_required(claim: str) -> None:
    """A token without one of the four is refused, naming it."""
    changes: dict[str, Any] = {claim: None}
    assert claim in await refusal(Authenticator(secret=SECRET), signed(**changes))


def by_hand(header: dict[str, Any], claims: Any, secret: str = SECRET) -> str:
    """A token made without the library's care, with a right HS256 signature."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = jwt.get_algorithm_by_name("HS256").sign(text, secret.encode())
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "..",
        "é.é.é",
        "\ud800",
        signed("t" * 32),
        signed("t" * 64, "HS512"),
        signed(SECRET * 2, "HS384"),
        signed()[:-2],
        jwt.encode(GOOD, "", "none"),
        by_hand({"alg": "HS256", "kid": 7}, GOOD),
        by_hand({"alg": "HS256", "crit": ["x"]}, GOOD),
        by_hand({"alg": "HS512"}, GOOD),
        by_hand({"alg": ["HS256"]}, GOOD),
        by_hand({"alg": None}, GOOD),
        by_hand({}, GOOD),
        by_hand([], GOOD),  # type: ignore[arg-type]  # a header that is no object is the point
        by_hand({"alg": "HS256"}, []),
        by_hand({"alg": "HS256"}, "ann"),
        by_hand({"alg": "HS256"}, b"{"),
        by_hand({"alg": "HS256"}, b"\xff"),
        by_hand({"alg": "HS256"}, b"[" * 5000),
        by_hand({"alg": "HS256"}, {**GOOD, "exp": 1e400}),
        by_hand({"alg": "HS256"}, {**GOOD, "exp": float("nan")}),
        by_hand({"alg": "HS256"}, {**GOOD, "exp": True}),
        by_hand({"alg": "HS256"}, {**GOOD, "nbf": 4_000_000_000}),
        by_hand({"alg": "HS256"}, {**GOOD, "nbf": 1e400}),
        by_hand({"alg": "HS256"}, {**GOOD, "iat": {}}),
    ],
    ids=range(29),
)
async def test_what_is_no_good_token_is_401(token: str) -> None:
    """Broken, forged, of another secret or algorithm, or with claims that no library expects."""
    await refusal(Authenticator(secret=SECRET), token)


@given(text=st.text(max_size=80))
async def test_no_text_raises_anything_but_401(text: str) -> None:
    """Garbage in the place of a token is named."""
    await refusal(Authenticator(secret=SECRET), text)


CLAIMS = st.dictionaries(
    st.sampled_from([*GOOD, "nbf", "aud"]),
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.text(max_size=5) | st.none()),
)


@given(claims=CLAIMS)
async def test_no_claims_raise_anything_but_401(claims: dict[str, Any]) -> None:
    """Whatever a rightly signed token claims, it is understood or refused."""
    try:
        await Authenticator(secret=SECRET).of_token(by_hand({"alg": "HS256"}, {**GOOD, **claims}))
    except Problem as problem:
        assert problem.status == 401  # noqa: PT017  both outcomes are right, each in its way


async def test_a_token_is_worth_nothing_once_it_expired() -> None:
    """A second is enough."""
    assert await refusal(Authenticator(secret=SECRET), signed(exp=time.time() - 1)) == "The token has expired."


async def test_a_token_is_not_remembered_beyond_its_expiry() -> None:
    """From that second on it is verified again, which finds it expired."""
    now = 3_999_999_999.0
    authenticator = Authenticator(secret=SECRET, clock=lambda: now)
    first = await authenticator.of_token(signed())
    assert await authenticator.of_token(signed()) is first
    now = 4_000_000_000.0
    assert await authenticator.of_token(signed()) is not first


async def test_a_remembered_token_is_not_verified_again() -> None:
    """The same principal comes back, and the longest unused one is forgotten first."""
    authenticator = Authenticator(secret=SECRET, cache_max=2)
    tokens = [signed(sub=name) for name in "abc"]
    a, b = [await authenticator.of_token(token) for token in tokens[:2]]
    assert await authenticator.of_token(tokens[0]) is a
    await authenticator.of_token(tokens[2])
    assert await authenticator.of_token(tokens[0]) is a
    assert await authenticator.of_token(tokens[1]) is not b


async def test_audience_and_issuer_are_checked_when_set() -> None:
    """A token for another service of the same issuer opens nothing here."""
    authenticator = Authenticator(secret=SECRET, audience="sessioncast", issuer="idp")
    assert await authenticator.of_token(signed(aud=["x", "sessioncast"], iss="idp"))
    assert await refusal(authenticator, signed(aud="x", iss="idp")) == "The token is for another audience."
    assert await refusal(authenticator, signed(aud="sessioncast", iss="x")) == "The token is of another issuer."
    assert await refusal(authenticator, signed(iss="idp")) == "The token lacks the claim aud."
    assert await refusal(Authenticator(secret=SECRET), signed(aud="x")) == "The token is for another audience."


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", signed(), f"Token {signed()}"])
async def test_a_request_without_a_bearer_token_is_401(header: str | None) -> None:
    """Other schemes count as nothing; X-User does too."""
    headers = Headers({"X-User": "ann"} if header is None else {"Authorization": header})
    with pytest.raises(Problem) as caught:
        await Authenticator(secret=SECRET).of_headers(headers)
    assert caught.value.detail == "A bearer token is needed."
    assert caught.value.response("r").headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_the_scheme_is_known_in_any_case(scheme: str) -> None:
    """RFC 9110, section 11.1."""
    headers = Headers({"authorization": f"{scheme} {signed()}"})
    assert (await Authenticator(secret=SECRET).of_headers(headers)).sub == "ann"


async def test_a_made_token_is_accepted() -> None:
    """`make_token` and the server agree."""
    for projects in ("*", ["web", "app"]):
        token = make_token(SECRET, sub="ann", projects=projects, scopes=[Scope.ADMIN], ttl_s=60)
        principal = await Authenticator(secret=SECRET).of_token(token)
        assert principal.has("admin")
        assert principal.may_see("web")
        assert abs((principal.expires_at or 0) - time.time() - 60) < 30


@pytest.mark.parametrize("changes", [{"sub": ""}, {"projects": ["A"]}, {"projects": "web"}, {"scopes": ["a b"]}])
def test_a_token_that_would_be_refused_is_not_made(changes: dict[str, Any]) -> None:
    """The mistake shows where it is made."""
    arguments = {"sub": "ann", "projects": "*", "scopes": [], "ttl_s": 60, **changes}
    with pytest.raises(ValueError, match=f"The claim {next(iter(changes))} must be"):
        make_token(SECRET, **arguments)


async def test_open_mode_knows_everybody_by_name() -> None:
    """X-User or `local`, with every right in every project; tokens do not matter."""
    authenticator = Authenticator()
    assert authenticator.open_mode
    local = await authenticator.of_headers(Headers({"Authorization": "Bearer x"}))
    assert (local.sub, local.projects, local.expires_at) == ("local", None, None)
    assert all(map(local.has, Scope))
    assert (await authenticator.of_headers(Headers({"X-User": "ann"}))).sub == "ann"
    assert (await authenticator.of_token("x")).sub == "local"


async def test_a_service_acts_for_its_users() -> None:
    """With `users:act` X-User names who asks; without it only the token's own user may be named."""
    authenticator = Authenticator(secret=SECRET)

    async def asked(user: str, *scopes: Scope) -> str:
        token = make_token(SECRET, sub="svc", projects=["web"], scopes=scopes, ttl_s=60)
        headers = Headers({"Authorization": f"Bearer {token}", "X-User": user})
        principal = await authenticator.of_headers(headers)
        assert (principal.projects, principal.scopes) == (frozenset({"web"}), frozenset(scopes))
        assert principal.bearer == (None if user == "svc" else "svc")
        return principal.sub

    assert await asked("ann", Scope.USERS_ACT) == "ann"
    assert await asked("bob", Scope.USERS_ACT) == "bob"
    assert await asked("svc") == "svc"
    for user, scopes, status in (("ann", (), 403), (" ", (Scope.USERS_ACT,), 422)):
        with pytest.raises(Problem) as caught:
            await asked(user, *scopes)
        assert caught.value.status == status


def test_names_arrive_as_utf_8() -> None:
    """Header values are Latin-1 to the framework, whatever they were to the sender."""
    assert open_principal("Zoë".encode().decode("latin-1")).sub == "Zoë"


@pytest.mark.parametrize("user", ["", " ", "x" * 201, "a\tb", "a\x7f", "\xff", "\xc3", "â\x80\xaeevil"])
def test_a_user_that_is_no_name_is_422(user: str) -> None:
    """Empty, too long, unprintable (also a text-direction override), or not UTF-8."""
    with pytest.raises(Problem) as caught:
        open_principal(user)
    assert (caught.value.status, caught.value.fields["errors"][0]["field"]) == (422, "X-User")


def test_a_missing_right_is_named() -> None:
    """`require` lets through or raises 403 with the scope."""
    principal = principal_of(GOOD)
    principal.require(Scope.SESSIONS_READ)
    with pytest.raises(Problem) as caught:
        principal.require(Scope.SESSIONS_WRITE)
    assert (caught.value.status, caught.value.fields) == (403, {"scope": "sessions:write"})


def test_nobody_may_nothing() -> None:
    """The principal of public endpoints sees no project and has no right."""
    assert not NOBODY.may_see("web")
    assert not any(map(NOBODY.has, Scope))
