"""Tokens at a real node, by secret and by key set: what is not yours is not there, on every transport."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from websockets.asyncio.client import connect

from support.node import Node, NodeFactory

_SECRET = "0123456789abcdef0123456789abcdef"
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims(*projects: str) -> dict[str, Any]:
    """What a token says."""
    scopes = ["sessions:read", "sessions:write"]
    return {"sub": "ada", "exp": time.time() + 600, "projects": list(projects), "scopes": scopes}


@pytest.fixture
def key_set() -> Iterator[str]:
    """URL of a key set with one RSA key."""
    key = json.loads(RSAAlgorithm.to_jwk(_KEY.public_key())) | {"kid": "one", "alg": "RS256", "use": "sig"}

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [key]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Keys) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/keys.json"
        server.shutdown()
        thread.join()


async def _assert_walls(node: Node, mine: str, forged: str) -> None:
    """With a token for `mine` only, `theirs` answers as what does not exist does; a forged token answers 401."""
    me = {"Authorization": f"Bearer {mine}"}
    async with httpx2.AsyncClient(base_url=node.url, headers=me, timeout=30) as http:
        assert (await http.put("/v1/projects/mine", json={})).status_code == 201
        for path in ("/v1/projects/theirs", "/v1/projects/theirs/tasks", "/v1/projects/theirs/events"):
            refused = await http.get(path)
            absent = await http.get(path.replace("theirs", "nowhere"))
            assert (refused.status_code, refused.json()["code"]) == (404, "not_found"), path
            assert refused.json()["detail"] == absent.json()["detail"]
        async with http.stream("GET", "/v1/projects/mine/events") as stream:
            assert stream.status_code == 200
            async for line in stream.aiter_lines():
                if line.startswith("event: snapshot"):
                    break
        for headers in ({"Authorization": f"Bearer {forged}"}, {"Authorization": ""}):
            assert (await http.get("/v1/projects/mine", headers=headers)).status_code == 401
    async with connect(node.url.replace("http", "ws", 1) + "/v1/ws", compression=None) as socket:

        async def said(**fields: object) -> dict[str, Any]:
            await socket.send(json.dumps(fields))
            answer: dict[str, Any] = json.loads(await socket.recv())
            return answer

        assert (await said(op="subscribe", project="mine"))["code"] == "unauthenticated"
        assert (await said(op="auth", token=forged))["code"] == "unauthenticated"
        assert (await said(op="auth", token=mine))["op"] == "authenticated"
        assert (await said(op="subscribe", project="theirs"))["code"] == "not_found"
        assert (await said(op="subscribe", project="mine"))["op"] == "subscribed"


async def test_tokens_by_secret(node_factory: NodeFactory) -> None:
    """A token signed with the secret opens what it names and nothing else, by HTTP, SSE and WebSocket."""
    node = await node_factory(env={"SESSIONCAST_JWT_SECRET": _SECRET})
    await _make_theirs(node, jwt.encode(claims("theirs"), _SECRET))
    await _assert_walls(node, jwt.encode(claims("mine"), _SECRET), jwt.encode(claims("mine"), _SECRET[::-1]))


async def test_tokens_by_key_set(node_factory: NodeFactory, key_set: str) -> None:
    """The same with keys that are read from a URL; a token signed with the public key as a secret is refused."""
    node = await node_factory(env={"SESSIONCAST_JWKS_URL": key_set})
    header = {"kid": "one"}
    await _make_theirs(node, jwt.encode(claims("theirs"), _KEY, "RS256", header))
    forged = jwt.encode(claims("mine"), "0" * 32, "HS256", header)
    await _assert_walls(node, jwt.encode(claims("mine"), _KEY, "RS256", header), forged)


async def _make_theirs(node: Node, token: str) -> None:
    async with httpx2.AsyncClient(base_url=node.url, headers={"Authorization": f"Bearer {token}"}) as http:
        assert (await http.put("/v1/projects/theirs", json={})).status_code == 201
