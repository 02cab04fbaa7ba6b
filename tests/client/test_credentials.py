"""Who asks: tokens that stay, and tokens that are renewed."""

import asyncio
import base64
import json

import pytest

from sessioncast import Client, Limits, Unauthenticated
from sessioncast.credentials import Credentials
from support.scripted import Reply, ScriptedServer


class Tokens:
    """Gives `t1`, `t2`, …; counts."""

    def __init__(self) -> None:
        self.given = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> str:
        """The next one, once the gate is open."""
        self.given += 1
        number = self.given
        await self.gate.wait()
        return f"t{number}"


async def test_a_function_is_asked_once_for_the_first_token() -> None:
    """Every request has it until one is refused."""
    tokens = Tokens()
    credentials = Credentials(tokens, "ann")
    first = await credentials.headers()
    assert first == {"Authorization": "Bearer t1", "X-User": "ann"} == await credentials.headers()
    assert tokens.given == 1


async def test_a_refused_token_is_renewed_once_for_all_who_were_refused() -> None:
    """Ten requests with the same token that were refused at once ask for one fresh token; so does one that is late."""
    tokens = Tokens()
    credentials = Credentials(tokens, None)
    await credentials.headers()
    tokens.gate.clear()
    asking = [asyncio.create_task(credentials.renew("t1")) for _ in range(10)]
    await asyncio.sleep(0)
    tokens.gate.set()
    assert set(await asyncio.gather(*asking)) == {"t2"}
    assert await credentials.renew("t1") == "t2"
    assert tokens.given == 2


async def test_who_gives_up_takes_the_token_from_nobody() -> None:
    """One of two who wait is cancelled; the other gets it."""
    tokens = Tokens()
    tokens.gate.clear()
    credentials = Credentials(tokens, None)
    one, other = (asyncio.create_task(credentials.headers()) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.sleep(0)
    tokens.gate.set()
    assert (await other)["Authorization"] == "Bearer t1"
    assert (one.cancelled(), tokens.given) == (True, 1)


async def test_what_the_function_raises_is_raised_and_it_is_asked_again() -> None:
    """A token server that is away is the caller's business; it is not remembered."""
    asked: list[int] = []

    def source() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise ValueError("away")
        return "late"

    credentials = Credentials(source, None)
    with pytest.raises(ValueError, match="away"):
        await credentials.headers()
    assert await credentials.headers() == {"Authorization": "Bearer late"}


async def test_a_function_that_has_no_other_token_is_told_so() -> None:
    """The same token again is none."""
    credentials = Credentials(lambda: "same", None)
    await credentials.headers()
    assert await credentials.renew("same") is None
    assert await Credentials("fixed", None).renew("fixed") is None


@pytest.mark.parametrize(("claims", "expires"), [({"exp": 17}, 17.0), ({}, None), ({"exp": True}, None), ("x", None)])
async def test_when_a_token_expires_is_read_from_it(claims: object, expires: float | None) -> None:
    """Where it says so."""
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert Credentials(f"a.{text}.c", None).expires_at == expires


async def test_a_refused_request_is_sent_once_more(server: ScriptedServer, quick: Limits) -> None:
    """With a fresh token; refused again, it is refused for good, however many tokens there are."""
    refusal = Reply(401, {"code": "unauthenticated", "detail": "Expired."})
    server.say(refusal, Reply(200, {"data": [], "next": None}), refusal, refusal)
    async with Client(server.url, Tokens(), limits=quick) as client:
        assert (await client.tasks.list("p")).data == []
        with pytest.raises(Unauthenticated):
            await client.tasks.list("p")
    assert [seen.headers["authorization"] for seen in server.seen] == [f"Bearer t{n}" for n in (1, 2, 2, 3)]
