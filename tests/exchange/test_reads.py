"""Reads carry where they were read and what they read, and wait for what their reader has seen elsewhere."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from support.api import SECRET, Api, problem
from support.node import NodeFactory


@pytest.fixture
async def patient(node_factory: NodeFactory) -> AsyncIterator[Api]:
    """Requests to a node that waits for positions longer than any test."""
    node = await node_factory(env={"SESSIONCAST_JWT_SECRET": SECRET, "SESSIONCAST_MIN_POSITION_WAIT_S": "3600"})
    api = Api(node.url, database="sqlite")
    with api.http:
        yield api


def _shown(api: Api) -> tuple[str, str, Any]:
    work = api.work()
    path = f"/v1/tasks/{work.task}"
    return work.project, path, api.get(path)


@pytest.mark.parametrize("listing", [False, True], ids=["one", "list"])
def test_what_did_not_change_is_not_sent_again(api: Api, *, listing: bool) -> None:
    """With its entity tag a read is 304 without a body until something changed; then it is 200 with a new tag."""
    work = api.work()
    task = f"/v1/tasks/{work.task}"
    path = work.path if listing else task
    first = api.get(path)
    tag = {"If-None-Match": first.headers["etag"]}
    unchanged = api.get(path, headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == first.headers["etag"]
    assert unchanged.headers["x-position"] == first.headers["x-position"]
    for also in (f'"other", {first.headers["etag"]}', "*", f"W/{first.headers['etag']}"):
        assert api.get(path, headers={"If-None-Match": also}).status_code == 304
    work.session()
    changed = api.get(path, headers=tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


def test_a_read_says_where_it_was_read(api: Api) -> None:
    """A read after a change carries at least the change's position, and the position of the log's last event."""
    work = api.work()
    written = api.patch(f"/v1/tasks/{work.task}", {"title": "U"})
    read = api.get(f"/v1/tasks/{work.task}")
    assert read.headers["x-position"] == written.headers["x-position"] == work.events()[-1]["position"]


def test_a_position_that_is_visible_is_not_waited_for(api: Api) -> None:
    """With the position of the own change, or an older one, a read answers."""
    work = api.work()
    written = api.patch(f"/v1/tasks/{work.task}", {"title": "U"}).headers["x-position"]
    epoch = written.partition(":")[0]
    for position in (written, f"{epoch}:0"):
        found = api.get(f"/v1/tasks/{work.task}", params={"min_position": position})
        assert api.ok(found, 200)["title"] == "U"


def test_a_position_of_another_epoch_is_told_at_once(patient: Api) -> None:
    """It will never come: 503 without the wait, with no time to come back, and as not worth a repetition."""
    _, path, shown = _shown(patient)
    epoch, _, offset = shown.headers["x-position"].partition(":")
    wanted = f"{'0' * len(epoch)}:{offset}"
    answer = patient.get(path, params={"min_position": wanted}, timeout=30)
    document = problem(answer, 503, "unavailable")
    assert wanted in document["detail"]
    assert "another epoch" in document["detail"]
    assert document["retryable"] is False
    assert "retry-after" not in answer.headers


def test_a_position_that_does_not_come_is_told(api: Api) -> None:
    """A position that is not visible in time is 503 with Retry-After, naming it."""
    _, path, shown = _shown(api)
    epoch, _, offset = shown.headers["x-position"].partition(":")
    wanted = f"{epoch}:{int(offset) + 1}"
    answer = api.get(path, params={"min_position": wanted})
    document = problem(answer, 503, "unavailable")
    assert wanted in document["detail"]
    assert document["retryable"] is True
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("garbage", ["", "x", ":", "1", "a:-1", "a:1:2", "a:1e9", "a:" + "9" * 5000, "ä:1", "a: 1"])
def test_a_position_that_is_none_is_refused(api: Api, garbage: str) -> None:
    """What is not of the form of a position is 400 `bad_cursor`."""
    _, path, _ = _shown(api)
    problem(api.get(f"{path}?min_position={quote(garbage)}"), 400, "bad_cursor")


def test_every_page_waits(api: Api) -> None:
    """Lists take `min_position` too."""
    work = api.work()
    epoch = api.get(work.path).headers["x-position"].partition(":")[0]
    problem(api.get(work.path, params={"min_position": f"{epoch}:99"}), 503, "unavailable")
    api.ok(api.get(work.path, params={"min_position": f"{epoch}:1"}), 200)
