"""Bad input on a real endpoint: its named error, and the store none the worse."""

from typing import Any

import pytest

from support.api import Api, problem

BROKEN: dict[str, tuple[bytes, int, str]] = {
    "cut off": (b'{"title": "T"', 400, "bad_json"),
    "not JSON": (b"title=T", 400, "bad_json"),
    "two documents": (b'{"title": "T"} {}', 400, "bad_json"),
    "a list": (b"[]", 422, "invalid"),
    "null": (b"null", 422, "invalid"),
    "huge": (b'{"title": "' + b"x" * (1 << 20) + b'"}', 413, "too_large"),
    "200,000 brackets": (b'{"metadata": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400, "too_deep"),
    "200,000 open brackets": (b"[" * 200_000, 400, "too_deep"),
    "65 levels": (b'{"title": "T", "metadata": {"a":' + b"[" * 63 + b"]" * 63 + b"}}", 400, "too_deep"),
    "NaN": (b'{"title": "T", "metadata": {"a": NaN}}', 400, "bad_json"),
    "Infinity": (b'{"title": "T", "metadata": {"a": -Infinity}}', 400, "bad_json"),
    "1e999": (b'{"title": "T", "metadata": {"a": 1e999}}', 400, "bad_json"),
    "lone surrogate": (b'{"title": "\\ud800"}', 400, "bad_unicode"),
    "lone surrogate as a key": (b'{"title": "T", "metadata": {"\\udfff": 1}}', 400, "bad_unicode"),
    "not UTF-8": (b'{"title": "\xff"}', 400, "bad_unicode"),
    "byte order mark": (b'\xef\xbb\xbf{"title": "T"}', 400, "bad_json"),
    "duplicate keys": (b'{"title": "T", "title": "U"}', 400, "bad_json"),
    "duplicate keys, escaped": (b'{"title": "T", "\\u0074itle": "U"}', 400, "bad_json"),
    "duplicate keys inside": (b'{"title": "T", "metadata": {"a": {"b": 1, "b": 1}}}', 400, "bad_json"),
    "5,000 digits": (b'{"title": "T", "metadata": {"a": ' + b"9" * 5000 + b"}}", 400, "bad_json"),
    "beyond 64 bit": (b'{"title": "T", "metadata": {"a": 9223372036854775808}}', 400, "bad_json"),
    "unknown field": (b'{"title": "T", "colour": "red"}', 422, "invalid"),
    "NUL in a title": (b'{"title": "a\\u0000b"}', 422, "invalid"),
    "empty title": (b'{"title": ""}', 422, "invalid"),
    "long title": (b'{"title": "' + b"x" * 201 + b'"}', 422, "invalid"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_body_gets_its_named_error(api: Api, name: str) -> None:
    """Each is refused by name; nothing was written, and the next request is served on."""
    body, status, code = BROKEN[name]
    project = api.project()
    path = f"/v1/projects/{project}/tasks"
    problem(api.post(path, content=body), status, code)
    assert api.ok(api.get(path), 200)["data"] == []
    assert api.ok(api.post(path, {"title": "T"}), 201)["title"] == "T"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json; charset=latin-1",
    ],
)
@pytest.mark.parametrize("body", [b"", b"{}", b'{"title": "T"}'])
def test_what_does_not_say_it_is_json_is_not_taken(api: Api, content_type: str, body: bytes) -> None:
    """415 on every unsafe method, also with an empty body."""
    work = api.work()
    session = work.session()
    for method, path in (
        ("PUT", f"/v1/projects/{work.project}"),
        ("POST", f"/v1/projects/{work.project}/tasks"),
        ("PATCH", f"/v1/sessions/{session['id']}"),
        ("DELETE", f"/v1/sessions/{session['id']}"),
        ("POST", f"/v1/sessions/{session['id']}/output"),
    ):
        answer = api.request(method, path, content=body, headers={"Content-Type": content_type})
        problem(answer, 415, "unsupported_media_type")
    assert len(work.events()) == 2


@pytest.mark.parametrize(
    "metadata",
    [
        {"a\0b": "c\0d"},
        {"a": 2**63 - 1, "b": -(2**63), "c": 0.1, "d": 1e308, "e": -0.0},
        {"é\U0001f600\u2028\uffff": "\x01\x7f\u0085"},
        {"a": [[[]], {}, None, True, ""]},
        {"": {"": ""}},
        {"__proto__": 1, "$ref": "#", "'; DROP TABLE task; --": "%s :name"},
    ],
)
def test_metadata_is_kept_to_the_letter(api: Api, metadata: dict[str, Any]) -> None:
    """All that JSON can say comes back as it was sent: from tasks, sessions, lists, and the log."""
    project = api.project()
    path = f"/v1/projects/{project}/tasks"
    task = api.ok(api.post(path, {"title": "T", "metadata": metadata}), 201)
    start = {"phase": "run", "model": {"name": "m", "params": metadata}, "metadata": metadata}
    answer = api.ok(api.post(f"/v1/tasks/{task['id']}/sessions", start), 201)
    session = api.ok(api.get(f"/v1/sessions/{answer['session']['id']}"), 200)
    assert task["metadata"] == session["metadata"] == session["model"]["params"] == metadata
    assert api.ok(api.get(path), 200)["data"][0] == task
    assert [event["data"] for event in api.events(project)] == [task, session]
    patched = api.patch(f"/v1/sessions/{session['id']}", {"metadata": {"more": metadata}})
    assert api.ok(patched, 200)["metadata"] == metadata | {"more": {k: v for k, v in metadata.items() if v is not None}}


@pytest.mark.parametrize("depth", [63, 64])
def test_depth_has_a_bound(api: Api, depth: int) -> None:
    """Sixty-four levels are taken and come back, also through a patch; see «65 levels» for one more."""
    project = api.project()
    inner = "[" * (depth - 2) + "]" * (depth - 2)
    body = f'{{"title": "T", "metadata": {{"a": {inner}}}}}'.encode()
    task = api.ok(api.post(f"/v1/projects/{project}/tasks", content=body), 201)
    patch = f'{{"metadata": {{"b": {inner}}}}}'.encode()
    answer = api.request("PATCH", f"/v1/tasks/{task['id']}", content=patch)
    assert list(api.ok(answer, 200)["metadata"]) == ["a", "b"]
