"""Keys of an identity provider: read when needed, and no more often than allowed."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.types import Receive, Scope, Send

from sessioncast_server.auth.keyset import KeySet
from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.problems import Problem
from support.asgi import served

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def private_key(kid: str) -> Key:
    """A key that stays the same for a test run; those of `ec…` are on a curve."""
    if kid.startswith("ec"):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public(kid: str, **about: Any) -> dict[str, Any]:
    """The key as the provider publishes it."""
    key = private_key(kid)
    if isinstance(key, rsa.RSAPrivateKey):
        made = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        made = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "use": "sig", **about}


def signed(kid: str, *, name: str | None = None, **header: Any) -> str:
    """A token of the provider's; `name` is the key id it claims."""
    claims = {"sub": "ann", "projects": "*", "scopes": [], "exp": int(time.time()) + 600}
    headers = {"kid": kid if name is None else name, **header}
    algorithm = "ES256" if kid.startswith("ec") else "RS256"
    return jwt.encode(claims, private_key(kid), algorithm, {k: v for k, v in headers.items() if v})


class Provider:
    """An identity provider with a key set at `/keys`, and a clock for who reads it.

    Attributes:
        reads: how often the key set was asked for.
        body: what it answers.
        status: HTTP status of it.
        now: the reader's time.
    """

    def __init__(self) -> None:
        self.reads = 0
        self.status = 200
        self.body = b""
        self.now = 1000.0
        self.publish("one")

    def publish(self, *kids: str) -> None:
        """Have these keys and no others."""
        self.body = json.dumps({"keys": [public(kid) for kid in kids]}).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reads += 1
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.body})


@pytest.fixture
def provider() -> Provider:
    """A provider with one key."""
    return Provider()


@pytest.fixture
async def authenticator(provider: Provider) -> AsyncIterator[Authenticator]:
    """Trusts the provider; remembers no tokens, so that every one asks for its key."""
    async with served(provider) as address:
        keys = KeySet(f"http://{address}/keys", keep_s=300, min_interval_s=10, clock=lambda: provider.now)
        yield Authenticator(keys=keys, keep_s=0)


async def status(authenticator: Authenticator, token: str) -> int:
    """200, or the status of the refusal."""
    try:
        await authenticator.of_token(token)
    except Problem as problem:
        return problem.status
    return 200


async def test_tokens_of_the_provider_are_good(authenticator: Authenticator, provider: Provider) -> None:
    """RS256 and ES256, each by the key that it names."""
    provider.publish("one", "ec1")
    assert await status(authenticator, signed("one")) == 200
    assert await status(authenticator, signed("ec1")) == 200
    assert await status(authenticator, signed("ec1", name="one")) == 401
    assert await status(authenticator, signed("other", name="one")) == 401
    assert provider.reads == 1
    assert not authenticator.open_mode


async def test_a_token_without_a_key_id_is_good_while_there_is_one_key(
    authenticator: Authenticator, provider: Provider
) -> None:
    """With two keys it is not guessed."""
    token = signed("one", name="")
    assert await status(authenticator, token) == 200
    provider.publish("one", "ec1")
    provider.now += 301
    assert await status(authenticator, token) == 401


async def test_a_public_key_is_no_secret(authenticator: Authenticator, provider: Provider) -> None:
    """A token signed by HMAC is refused, before the key set is even read, and so is one that is not signed."""
    claims = {"sub": "ann", "projects": "*", "scopes": [], "exp": int(time.time()) + 600}
    head = jwt.encode(claims, "x" * 32, "HS256", {"kid": "one"}).rpartition(".")[0].encode()
    # By hand: PyJWT will not sign with what looks like a public key.
    signature = hmac.digest(json.dumps(public("one")).encode(), head, "sha256")
    forged = head + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")
    assert await status(authenticator, forged.decode()) == 401
    assert await status(authenticator, jwt.encode(claims, "", "none", {"kid": "one"})) == 401
    assert provider.reads == 0


async def test_made_up_key_ids_make_no_storm(authenticator: Authenticator, provider: Provider) -> None:
    """A hundred unknown ids at once cost one reading, a hundred more within the interval none."""
    tokens = [signed("one", name=f"made-up-{number}") for number in range(100)]
    for _ in range(2):
        assert set(await asyncio.gather(*(status(authenticator, token) for token in tokens))) == {401}
    assert provider.reads == 1
    assert await status(authenticator, signed("one")) == 200
    provider.now += 10
    await asyncio.gather(*(status(authenticator, token) for token in tokens))
    assert provider.reads == 2


async def test_a_new_key_is_found_and_an_old_one_forgotten(authenticator: Authenticator, provider: Provider) -> None:
    """Rotation: the new id is asked for after the interval; the withdrawn key ends with the set's age."""
    assert await status(authenticator, signed("one")) == 200
    provider.publish("ec1")
    assert await status(authenticator, signed("ec1")) == 401
    provider.now += 10
    assert await status(authenticator, signed("ec1")) == 200
    assert await status(authenticator, signed("one")) == 401


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (500, b"{}"),
        (302, b""),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys": []}'),
        (200, b'{"keys": 7}'),
        (200, b'{"keys": [7]}'),
        (200, b'{"keys": [{"kty": "RSA"}]}'),
        (200, b"\xff"),
        (200, b"[" * 100_000),
    ],
)
async def test_a_provider_that_is_away_is_503(
    authenticator: Authenticator, provider: Provider, code: int, body: bytes
) -> None:
    """An error, no JSON or no keys says nothing about the token, so it is not called bad."""
    provider.status, provider.body = code, body
    assert await status(authenticator, signed("one")) == 503
    assert await status(authenticator, signed("one")) == 503
    assert provider.reads == 1
    provider.status = 200
    provider.publish("one")
    provider.now += 10
    assert await status(authenticator, signed("one")) == 200


async def test_keys_once_read_stay_good_while_the_provider_is_away(
    authenticator: Authenticator, provider: Provider
) -> None:
    """Only tokens of keys that are not known have to wait."""
    assert await status(authenticator, signed("one")) == 200
    provider.status = 500
    provider.now += 301
    assert await status(authenticator, signed("one")) == 200
    assert await status(authenticator, signed("ec1")) == 503


async def test_nobody_listening_is_503() -> None:
    """A refused connection is «away», and a provider that never answers is so after the deadline."""
    release = asyncio.Event()

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async with served(silent) as address:
        slow = Authenticator(keys=KeySet(f"http://{address}/keys", timeout_s=0.2))
        assert await status(slow, signed("one")) == 503
        release.set()
    assert await status(Authenticator(keys=KeySet(f"http://{address}/keys")), signed("one")) == 503


async def test_keys_that_are_not_for_signing_are_passed_over(authenticator: Authenticator, provider: Provider) -> None:
    """An encryption key and a symmetric one verify nothing."""
    secret = {"kty": "oct", "kid": "sym", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"}
    provider.body = json.dumps({"keys": [public("one", use="enc"), secret, public("ec1")]}).encode()
    assert await status(authenticator, signed("one")) == 401
    assert await status(authenticator, signed("ec1")) == 200
