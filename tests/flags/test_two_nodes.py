"""A flag changed at one node is obeyed by another."""

from functools import partial
from uuid import uuid4

from support.api import SECRET, Api, Work, bearer
from support.cluster import make_schema, two_nodes
from support.node import NodeFactory
from support.waiting import until


def _starts(api: Api, strategy: str) -> float:
    text = api.http.get(f"{api.url}/metrics").text
    start = f'sessioncast_lock_acquisitions_total{{strategy="{strategy}"}} '
    return next((float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start)), 0.0)


async def test_the_other_node_obeys(node_factory: NodeFactory, postgres_url: str) -> None:
    """Starts at B lock their task or not as A was told, with nothing but the database between them."""
    make_schema(postgres_url)
    a, b = await two_nodes(node_factory, postgres_url, None, SESSIONCAST_JWT_SECRET=SECRET)
    token = bearer(scopes=("sessions:read", "sessions:write", "admin"))
    one, two = (Api(node.url, database="postgresql", token=token) for node in (a, b))
    with one.http, two.http:
        project = two.project()

        def starts_by(strategy: str) -> bool:
            before = _starts(two, strategy)
            task = two.ok(two.post(f"/v1/projects/{project}/tasks", {"title": uuid4().hex}), 201)
            Work(two, project, task["id"]).session()
            return _starts(two, strategy) == before + 1

        assert starts_by("pessimistic")
        for body, strategy in (({"state": "off"}, "optimistic"), ({"state": "on"}, "pessimistic")):
            one.ok(one.request("PUT", "/v1/admin/flags/pessimistic_locking_enabled", json=body), 200)
            await until(partial(starts_by, strategy), f"a start at B that is {strategy}")
        assert two.get("/v1/admin/flags/pessimistic_locking_enabled").json()["state"] == "on"
