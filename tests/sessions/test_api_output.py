"""Output over HTTP: appended, paged, exported."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.api import Api, problem


def test_output_is_counted_from_one(api: Api) -> None:
    """Appends are given the next `seq` range; reading pages through them in order; the version stays."""
    work = api.work()
    session = work.session()
    path = f"/v1/sessions/{session['id']}/output"
    assert api.ok(api.get(path), 200) == {"data": [], "next": None}
    answer = api.post(path, {"chunks": [{"stream": "log", "text": "a"}, {"stream": "result", "text": ""}]})
    assert api.ok(answer, 200) == {"first": 1, "last": 2}
    assert answer.headers["x-position"].partition(":")[2] == "3"
    assert api.ok(api.post(path, {"chunks": [{"text": "\0é\U0001f600\u2028"}]}), 200) == {"first": 3, "last": 3}
    page = api.ok(api.get(path, params={"limit": 2}), 200)
    assert [set(chunk) for chunk in page["data"]] == [{"seq", "stream", "text", "at"}] * 2
    assert page["next"] == "2"
    page = api.ok(api.get(path, params={"limit": 2, "after": page["next"]}), 200)
    assert [(chunk["seq"], chunk["stream"], chunk["text"]) for chunk in page["data"]] == [
        (3, "log", "\ufffdé\U0001f600\u2028")
    ]
    assert page["next"] is None
    shown = api.ok(api.get(f"/v1/sessions/{session['id']}"), 200)
    assert (shown["output_seq"], shown["version"]) == (3, 1)
    assert shown["last_activity_at"] > session["last_activity_at"]
    event = work.events()[-2]
    assert event["type"] == "session.output"
    assert [chunk["text"] for chunk in event["data"]["chunks"]] == ["a", ""]
    assert api.ok(api.get(path, params={"after": 99}), 200) == {"data": [], "next": None}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"chunks": []},
        {"chunks": {}},
        {"chunks": [{}]},
        {"chunks": [{"text": None}]},
        {"chunks": [{"text": 1}]},
        {"chunks": [{"text": "a", "seq": 1}]},
        {"chunks": [{"stream": "", "text": "a"}]},
        {"chunks": [{"stream": "a\0", "text": "a"}]},
        {"chunks": [{"text": "a"}] * 1001},
        {"chunks": [{"text": "a"}], "more": 1},
    ],
)
def test_an_append_that_says_something_else_is_named(api: Api, body: Any) -> None:
    """Empty, unacceptable and too many chunks are 422, and nothing was appended."""
    session = api.work().session()
    path = f"/v1/sessions/{session['id']}/output"
    problem(api.post(path, body), 422, "invalid")
    assert api.ok(api.get(path), 200)["data"] == []


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 201}, {"after": -1}, {"after": "x"}, {"after": 2**62}])
def test_a_page_of_output_has_bounds(api: Api, params: dict[str, Any]) -> None:
    """Limits and marks outside of theirs are 422."""
    problem(api.get(f"/v1/sessions/{api.work().session()['id']}/output", params=params), 422, "invalid")


def test_concurrent_appends_leave_no_gap(api: Api) -> None:
    """Writers at once get ranges that together are 1 to the end, and each finds its text in its own range."""
    work = api.work()
    path = f"/v1/sessions/{work.session()['id']}/output"

    def append(number: int) -> list[tuple[int, str]]:
        texts = [f"{number}.{part}" for part in range(number % 3 + 1)]
        given = api.ok(api.post(path, {"chunks": [{"text": text} for text in texts]}), 200)
        return list(zip(range(given["first"], given["last"] + 1), texts, strict=True))

    with ThreadPoolExecutor(8) as pool:
        given = sorted(pair for pairs in pool.map(append, range(60)) for pair in pairs)
    assert [seq for seq, _ in given] == list(range(1, 121))
    read = api.ok(api.get(path, params={"limit": 200}), 200)["data"]
    assert [(chunk["seq"], chunk["text"]) for chunk in read] == given
    told = [chunk for event in work.events()[2:] for chunk in event["data"]["chunks"]]
    assert told == read


def test_big_output_comes_in_small_pages(api: Api) -> None:
    """Chunks of nearly a megabyte are read one or two at a time, all of them once, whatever the limit."""
    path = f"/v1/sessions/{api.work().session()['id']}/output"
    texts = [letter * 900_000 for letter in "abcd"]
    for text in texts:
        api.ok(api.post(path, {"chunks": [{"text": text}]}), 200)
    found, after, pages = [], "0", 0
    while after is not None:
        answer = api.get(path, params={"limit": 200, "after": after})
        assert len(answer.content) < 2_000_000
        page = api.ok(answer, 200)
        found += [chunk["text"] for chunk in page["data"]]
        after, pages = page["next"], pages + 1
    assert found == texts
    assert pages == 4
    problem(api.post(path, {"chunks": [{"text": "x" * (1 << 20)}]}), 413, "too_large")


def test_a_download_is_one_document(api: Api) -> None:
    """20,000 chunks, with all that JSON has to escape, come as one valid document in order; also once deleted."""
    work = api.work()
    session = work.session(agent="a")
    path = f"/v1/sessions/{session['id']}"
    for first in range(0, 20_000, 1000):
        chunks = [{"text": f'{number} "\\\n\x1b\x7f é\u2028'} for number in range(first, first + 1000)]
        api.ok(api.post(f"{path}/output", {"chunks": chunks}), 200)
    assert api.delete(path).status_code == 204
    answer = api.get(f"{path}/export")
    assert answer.headers["content-disposition"] == f'attachment; filename="session-{session["id"]}.json"'
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-position"] == api.get(path).headers["x-position"]
    document = json.loads(answer.content)
    assert list(document) == ["session", "chain", "usage", "output"]
    assert document["session"] == api.ok(api.get(path), 200)
    assert document["chain"] == []
    assert [chunk["seq"] for chunk in document["output"]] == list(range(1, 20_001))
    assert document["output"][12_345]["text"] == '12345 "\\\n\x1b\x7f é\u2028'


def test_a_download_of_nothing_is_a_document(api: Api) -> None:
    """A session that printed nothing exports with an empty list."""
    document = api.ok(api.get(f"/v1/sessions/{api.work().session()['id']}/export"), 200)
    assert document["output"] == []
