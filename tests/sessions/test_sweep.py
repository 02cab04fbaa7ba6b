"""Random requests to every endpoint that the interface describes: no 5xx, and every refusal is a problem."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.api import Api

THREAD = "/v1/projects/{project_id}/threads/{thread_id}"

# method, path in the description; those that stream, and what is not the interface's own, are tested elsewhere.
OPERATIONS = [
    ("POST", "/v1/projects/{project_id}/sessions/bulk"),
    ("GET", "/v1/projects/{project_id}/models"),
    ("PUT", "/v1/projects/{project_id}/models/{name}"),
    ("DELETE", "/v1/projects/{project_id}/models/{name}"),
    ("GET", "/v1/admin/flags"),
    ("GET", "/v1/admin/flags/{name}"),
    ("PUT", "/v1/admin/flags/{name}"),
    ("PUT", "/v1/projects/{project_id}"),
    ("GET", "/v1/projects/{project_id}"),
    ("POST", "/v1/projects/{project_id}/tasks"),
    ("GET", "/v1/projects/{project_id}/tasks"),
    ("GET", "/v1/tasks/{task_id}"),
    ("PATCH", "/v1/tasks/{task_id}"),
    ("POST", "/v1/tasks/{task_id}/sessions"),
    ("GET", "/v1/tasks/{task_id}/sessions"),
    ("GET", "/v1/sessions/{session_id}"),
    ("PATCH", "/v1/sessions/{session_id}"),
    ("DELETE", "/v1/sessions/{session_id}"),
    ("POST", "/v1/sessions/{session_id}/output"),
    ("GET", "/v1/sessions/{session_id}/output"),
    ("GET", "/v1/sessions/{session_id}/export"),
    ("POST", "/v1/sessions/{session_id}/provider-sessions"),
    ("PATCH", "/v1/provider-sessions/{provider_session}"),
    ("GET", "/v1/sessions/{session_id}/chain"),
    ("POST", "/v1/sessions/{session_id}/resume"),
    ("DELETE", "/v1/sessions/{session_id}/turn"),
    ("POST", "/v1/provider-sessions/{provider_session}/resume-failed"),
    ("GET", "/v1/tasks/{task_id}/metrics"),
    ("GET", "/v1/sessions/{session_id}/metrics"),
    ("GET", "/v1/projects/{project_id}/milestones/{milestone}/metrics"),
    ("GET", "/v1/projects/{project_id}/metrics"),
    ("GET", "/v1/projects/{project_id}/audit"),
    ("POST", "/v1/projects/{project_id}/versions"),
    ("GET", "/v1/projects/{project_id}/versions/latest"),
    ("POST", "/v1/projects/{project_id}/threads"),
    ("GET", "/v1/projects/{project_id}/threads"),
    ("GET", THREAD),
    ("DELETE", THREAD),
    ("GET", f"{THREAD}/messages"),
    ("POST", f"{THREAD}/messages"),
    ("POST", f"{THREAD}/pop"),
    ("POST", f"{THREAD}/clear"),
    ("GET", f"{THREAD}/stats"),
    ("POST", f"{THREAD}/runs"),
    ("PATCH", f"{THREAD}/runs/{{run}}"),
    ("DELETE", f"{THREAD}/runs/{{run}}"),
    ("POST", "/v1/client-reports"),
    ("POST", "/chatkit/threads"),
    ("GET", "/chatkit/threads/{thread_id}"),
    ("POST", "/chatkit/threads/{thread_id}/messages"),
]
NAMES = (
    "title milestone metadata phase model name version params agent debug on_conflict confirm session_id chunks stream"
    " text status limit after include_deleted min_position operation provider_session_id new_provider_session_id"
    " resumed_from iteration lease_s fork usage tokens cost_usd ended is_resumable structure_fingerprint saved reason"
    " session user id messages content role run order all at message kind heard_at transport"
)
WORDS = "run plan ask replace restart reject running failed pending m-1 true 0 1 null log * W/ locked not_found A"
QUICK = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

names = st.sampled_from(NAMES.split()) | st.text(max_size=5)
texts = st.sampled_from(WORDS.split()) | st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
starts = st.fixed_dictionaries(
    {"phase": texts, "model": st.fixed_dictionaries({"name": texts})},
    optional={
        "agent": values,
        "debug": st.booleans(),
        "metadata": st.dictionaries(names, values, max_size=3),
        "on_conflict": texts,
        "confirm": st.fixed_dictionaries({"session_id": texts}),
    },
)
openings = st.fixed_dictionaries(
    {"operation": texts},
    optional={
        "provider_session_id": texts,
        "resumed_from": texts,
        "iteration": st.integers(-1, 2**32),
        "lease_s": st.floats(),
        "milestone": texts,
        "fork": st.booleans(),
    },
)
amounts = st.none() | st.integers(-1, 2**64)
steps = st.fixed_dictionaries(
    {},
    optional={
        "new_provider_session_id": texts,
        "usage": st.fixed_dictionaries(
            {}, optional={"tokens": amounts, "cached_tokens": amounts, "turns": amounts, "cost_usd": st.floats(-1, 1e7)}
        ),
        "ended": st.booleans(),
        "is_resumable": st.booleans(),
        "structure_fingerprint": texts | st.dictionaries(texts, texts, max_size=3),
        "saved": st.fixed_dictionaries({}, optional={"cost_usd": st.floats(), "seconds": st.floats()}),
    },
)
messages = st.fixed_dictionaries({"content": values}, optional={"role": texts, "id": texts | st.uuids().map(str)})
times = st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:60Z"]) | texts
reports = st.fixed_dictionaries({"at": times, "message": texts}, optional={"heard_at": times, "session_id": texts})
documents = (
    st.dictionaries(names, values, max_size=5)
    | starts
    | st.fixed_dictionaries({"title": texts}, optional={"metadata": st.dictionaries(names, values, max_size=3)})
    | openings
    | steps
    | st.fixed_dictionaries({"reason": texts})
    | st.fixed_dictionaries({}, optional={"fork": st.booleans(), "wait_s": st.just(0), "structure_fingerprint": texts})
    | st.fixed_dictionaries({"chunks": st.lists(st.fixed_dictionaries({"text": texts}), max_size=3)})
    | st.fixed_dictionaries({"messages": st.lists(messages, max_size=3)}, optional={"run": texts, "wait_s": st.just(0)})
    | st.fixed_dictionaries({"content": texts})
    | reports
    | st.fixed_dictionaries({}, optional={"status": texts, "agent": values, "metadata": values})
    | values
)
bodies = documents.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
queries = st.lists(st.tuples(names, texts), max_size=3)
header_values = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30).map(str.strip)
headers = st.dictionaries(
    st.sampled_from(
        ["If-Match", "If-None-Match", "X-Session-Fence", "Idempotency-Key", "Range", "Accept", "Expect-Ct"]
    ),
    header_values | st.sampled_from(["*", '"1-000000000000"', "0", "1", "2"]),
    max_size=2,
)
odd_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).map(
    lambda text: quote(text, safe="")
)


@dataclass(frozen=True)
class Ids:
    """What is there to be asked for."""

    project_id: str
    task_id: str
    session_id: str
    provider_session: str
    thread_id: str
    run: str
    milestone: str
    name: str


@pytest.fixture(scope="module")
def ids(api: Api) -> Ids:
    """A project with a task, a session, a provider session and a thread in it."""
    work = api.work()
    session = work.session()["id"]
    row = api.ok(api.post(f"/v1/sessions/{session}/provider-sessions", {"operation": "x"}), 201)
    threads = f"/v1/projects/{work.project}/threads"
    thread = api.ok(api.post(threads, {}), 201)["id"]
    run = api.ok(api.post(f"{threads}/{thread}/runs", {"lease_s": 1}), 201)["id"]
    return Ids(work.project, work.task, session, row["id"], thread, run, "m", "name")


def test_every_described_operation_is_swept(api: Api) -> None:
    """What the interface describes, streams and what is not its own apart, is exactly what the sweep asks."""
    described = api.ok(api.get("/openapi.json"), 200)["paths"]
    ours = [path for path in described if path.startswith(("/v1", "/chatkit")) and not path.endswith("/events")]
    assert {(method.upper(), path) for path in ours for method in described[path]} == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(pair) for pair in OPERATIONS])
def test_no_input_is_a_server_error(api: Api, ids: Ids, method: str, path: str) -> None:
    """Many random requests are each answered below 500; a refusal is a problem that names its code."""

    @QUICK
    @given(bodies, queries, headers, st.none() | odd_ids)
    def sweep(body: bytes, query: list[tuple[str, str]], extra: dict[str, str], odd: str | None) -> None:
        asked = path.format(**(dict.fromkeys(vars(ids), odd) if odd else vars(ids)))
        rest: dict[str, Any] = {"content": body} if method != "GET" else {}
        params = [(name, value) for name, value in query if not name.isspace()]
        encoded = {name: value.encode("latin-1") for name, value in extra.items()}
        encoded |= {"X-Project": ids.project_id.encode()} if path.startswith("/chatkit") else {}
        answer = api.request(method, asked, params=params, headers=encoded, **rest)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            document = answer.json()
            assert document["status"] == answer.status_code
            assert document["code"]
            assert document["detail"]

    sweep()
    api.ok(api.get(f"/v1/projects/{ids.project_id}"), 200)
