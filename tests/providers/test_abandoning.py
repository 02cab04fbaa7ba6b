"""A lease that was found to have run out is ended only if nobody has renewed it since."""

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from sessioncast_server.app import Application
from sessioncast_server.providers.service import abandon, open_leases
from sessioncast_server.settings import load


def test_a_sign_between_the_look_and_the_end_saves_it(database_url: str) -> None:
    """The lease that was seen is not the one that is there after a sign of life: it stays open. The one that is there
    is ended, once."""
    application = Application(load({"SESSIONCAST_DATABASE_URL": database_url, "SESSIONCAST_LEASE_LOOK_S": "3600"}))
    with TestClient(application.asgi, base_url="http://localhost") as client:

        def asked(method: str, path: str, **body: Any) -> Any:
            answer = client.request(method, f"/v1/{path}", json=body)
            assert answer.is_success, answer.text
            return answer.json()

        def run(fn: Callable[..., Any], *args: Any) -> Any:
            assert client.portal is not None
            return client.portal.call(fn, *args)

        asked("PUT", "projects/p")
        task = asked("POST", "projects/p/tasks", title="T")["id"]
        session = asked("POST", f"tasks/{task}/sessions", phase="run", model={"name": "m"})["session"]["id"]
        row = asked("POST", f"sessions/{session}/provider-sessions", operation="x")["id"]
        for sign in ({}, {"usage": {"tokens": 1}}):
            (seen,) = run(application.database.read, open_leases, "", 10)
            asked("PATCH", f"provider-sessions/{row}", **sign)
            assert run(application.database.write, abandon, seen).value is False
            assert asked("PATCH", f"provider-sessions/{row}")["state"] == "open"
        (seen,) = run(application.database.read, open_leases, "", 10)
        assert run(application.database.write, abandon, seen).value is True
        assert asked("PATCH", f"provider-sessions/{row}")["state"] == "abandoned"
        assert run(application.database.read, open_leases, "", 10) == []
        assert run(application.database.write, abandon, seen).value is False
