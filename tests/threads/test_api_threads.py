"""Making, listing, showing and deleting threads over HTTP."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from support.api import ALL_SCOPES, Api, problem
from support.chains import each
from support.threads import AFAR, READ_ALL, THREAD_MEMBERS, Chat, new_uuid

READ_ONLY, WRITE_ONLY = ("sessions:read",), ("sessions:write",)
BAD_IDS = ("x", "1", "null", f"{AFAR}0", AFAR.replace("-", ""), f"{{{AFAR}}}", f"urn:uuid:{AFAR}", "%00", f"{AFAR}%0A")
BAD = [
    *each("id", 1, "", "x", AFAR.replace("-", ""), [], {}, True, f" {AFAR}"),
    *each("title", 1, "", "x" * 201, "a\0b", [], {}, True),
    *each("user", "bob"),
    *each("unknown", 1),
]


def moment(text: str) -> datetime:
    """A time as it is told."""
    return datetime.fromisoformat(text)


def test_it_is_shown_whole(chat: Chat) -> None:
    """A new thread has every member, is empty, and is kept for seven days from now."""
    answer = chat.create(title="Milk")
    thread = chat.api.ok(answer, 201)
    assert thread.keys() == THREAD_MEMBERS
    expected = {"id": chat.id, "project_id": chat.project, "user": "ann", "title": "Milk", "version": 1}
    assert {name: thread[name] for name in expected} == expected
    assert (thread["message_seq"], thread["message_count"]) == (0, 0)
    assert thread["created_at"] == thread["last_activity_at"]
    assert moment(thread["expires_at"]) - moment(thread["created_at"]) == timedelta(days=7)
    assert chat.get() == thread
    assert answer.headers["etag"] == chat.api.get(chat.path).headers["etag"]


def test_an_id_is_made_where_none_is_given(chat: Chat) -> None:
    """Without an id each thread is another one, without title."""
    made = [chat.api.ok(chat.api.post(chat.all, {}), 201) for _ in range(2)]
    assert len({UUID(thread["id"]) for thread in made}) == 2
    assert [thread["title"] for thread in made] == [None, None]


def test_an_empty_body_makes_one(chat: Chat) -> None:
    """Nothing need be said of a thread."""
    assert UUID(chat.api.ok(chat.api.post(chat.all), 201)["id"])


def test_one_that_is_there_is_shown(chat: Chat) -> None:
    """Made again it is 200 and as it was, whatever title is asked for; nothing is told of it."""
    chat.made(title="first")
    chat.appended("hello")
    before = chat.get()
    told = len(chat.events())
    answer = chat.create(title="second")
    assert chat.api.ok(answer, 200) == before
    assert "x-position" not in answer.headers
    assert len(chat.events()) == told


def test_ids_are_one_however_they_are_written(chat: Chat) -> None:
    """Upper case is the same id, in the body and in the path; it is shown in lower case."""
    wanted = "0123ABCD-89AB-4DEF-8123-456789ABCDEF"
    thread = chat.api.ok(chat.api.post(chat.all, {"id": wanted}), 201)
    assert thread["id"] == wanted.lower()
    assert chat.api.ok(chat.api.get(f"{chat.all}/{wanted}"), 200) == thread
    chat.api.ok(chat.api.post(chat.all, {"id": wanted.lower()}), 200)


def test_users_never_meet(chat: Chat) -> None:
    """Two users may have threads of one id: each sees, fills and deletes his own only."""
    bob = chat.acting(sub="bob")
    chat.made(title="ann's")
    problem(bob.api.get(bob.path), 404, "not_found")
    bob.made(title="bob's")
    chat.appended("from ann")
    bob.appended("from bob")
    assert (chat.contents(), bob.contents()) == (["from ann"], ["from bob"])
    assert (chat.get()["title"], bob.get()["title"]) == ("ann's", "bob's")
    chat.api.ok(bob.api.delete(bob.path), 204)
    assert chat.contents() == ["from ann"]


def test_projects_never_meet(chat: Chat) -> None:
    """One id in two projects is two threads."""
    other = Chat(chat.api, chat.api.project(), chat.id)
    chat.appended("here")
    problem(other.api.get(other.path), 404, "not_found")
    other.appended("there")
    assert (chat.contents(), other.contents()) == (["here"], ["there"])


@pytest.mark.parametrize("user", ["Ann", "ann ", "á", "a\u0301", "本地", "'; --", "x" * 200])
def test_users_may_have_any_name(chat: Chat, user: str) -> None:
    """Names that look alike are different users, and are shown as they are."""
    named = chat.made().acting(sub=user)
    problem(named.api.get(named.path), 404, "not_found")
    assert chat.api.ok(named.create(), 201)["user"] == user


def test_what_is_not_there_is_not_found(chat: Chat) -> None:
    """A thread that nobody has, or somebody else: 404 with the same body, on all that does not make it."""
    bob = chat.beside().acting(sub="bob").made()
    found = []
    for path in (chat.path, f"{chat.all}/{bob.id}"):
        for method, rest in (
            ("GET", ""), ("DELETE", ""), ("GET", "/messages"), ("POST", "/pop"), ("POST", "/clear"), ("GET", "/stats"),
        ):  # fmt: skip
            document = problem(chat.api.request(method, f"{path}{rest}"), 404, "not_found")
            document.pop("request_id")
            found.append(document)
        for answer in (Chat(chat.api, chat.project, path[-36:]).renew(AFAR), chat.post("pop", run=AFAR)):
            problem(answer, 409, "fenced")  # who has a run there had one: it is over
        chat.api.ok(chat.api.delete(f"{path}/runs/{AFAR}"), 204)
    assert all(document == found[0] for document in found)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("name", ["no-such-project", "UPPER", "a%00b", "a%0Ab", "%F0%9F%98%80", "x" * 64])
def test_projects_that_are_not_there(chat: Chat, method: str, name: str) -> None:
    """No project, no threads: 404 on all paths, whatever the name."""
    every = f"/v1/projects/{name}/threads"
    one = f"{every}/{AFAR}"
    paths = {"GET": (every, one, f"{one}/messages", f"{one}/stats"), "POST": (every, f"{one}/pop", f"{one}/clear")}
    for path in paths[method]:
        problem(chat.api.request(method, path), 404, "not_found")
    if method == "POST":
        problem(chat.api.patch(f"{one}/runs/{AFAR}", {}), 409, "fenced")
        message = [{"role": "user", "content": 1}]
        problem(chat.api.post(f"{one}/messages", {"messages": message}), 404, "not_found")
        problem(chat.api.post(f"{one}/runs", {}), 404, "not_found")
        problem(chat.api.delete(one), 404, "not_found")


def test_projects_of_others_are_not_there(chat: Chat) -> None:
    """A token without the project finds nothing in it and makes nothing."""
    other = chat.made().acting(projects=["another"])
    message = [{"role": "user", "content": 1}]
    for path in (other.all, other.path, f"{other.path}/messages", f"{other.path}/stats"):
        problem(other.api.get(path), 404, "not_found")
    for answer in (other.create(), other.append(message), other.post("pop"), other.post("clear"), other.post("runs")):
        problem(answer, 404, "not_found")
    problem(other.api.delete(other.path), 404, "not_found")
    assert chat.get()["version"] == 1


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids_that_are_none(chat: Chat, bad: str) -> None:
    """A thread's id that is no UUID is 422 and named, on every path."""
    one = f"{chat.all}/{bad}"
    for method, rest in (
        ("GET", ""), ("DELETE", ""), ("GET", "/messages"), ("POST", "/pop"), ("POST", "/clear"), ("GET", "/stats"),
        ("POST", "/runs"), ("PATCH", f"/runs/{AFAR}"), ("DELETE", f"/runs/{AFAR}"),
    ):  # fmt: skip
        found = problem(chat.api.request(method, f"{one}{rest}"), 422, "invalid")
        assert found["errors"][0]["field"] == "thread_id"
    answer = chat.api.post(f"{one}/messages", {"messages": [{"role": "user", "content": 1}]})
    assert problem(answer, 422, "invalid")["errors"][0]["field"] == "thread_id"


def test_bad_fields_are_named(chat: Chat) -> None:
    """What a new thread cannot have is 422 that names the field, and nothing is made."""
    for bad in BAD:
        found = problem(chat.api.post(chat.all, {"id": chat.id} | bad), 422, "invalid")
        assert found["errors"][0]["field"] == next(iter(bad)), bad
    assert chat.api.ok(chat.api.get(chat.all), 200)["data"] == []


def test_titles_are_free_texts(chat: Chat) -> None:
    """One to 200 characters of anything but NUL are kept as they are."""
    for title in ("x", "ä/?#%00\n\t'\";--😀", "\U0001f600" * 200):
        assert chat.beside().made(title=title).get()["title"] == title


def test_rights_are_asked_for(chat: Chat) -> None:
    """Reading needs sessions:read, all else sessions:write; without it 403 names the scope, and nothing happens."""
    chat.made()
    reader, writer = chat.acting(scopes=READ_ONLY), chat.acting(scopes=WRITE_ONLY)
    message = [{"role": "user", "content": 1}]
    for answer in (
        reader.create(), reader.api.delete(reader.path), reader.append(message), reader.post("pop"),
        reader.post("clear"), reader.post("runs"), reader.renew(AFAR), reader.api.delete(f"{reader.path}/runs/{AFAR}"),
    ):  # fmt: skip
        assert problem(answer, 403, "forbidden")["scope"] == "sessions:write"
    for path in (writer.all, writer.path, f"{writer.path}/messages", f"{writer.path}/stats"):
        assert problem(writer.api.get(path), 403, "forbidden")["scope"] == "sessions:read"
    assert chat.get()["version"] == 1


def test_only_whom_it_is_given_reads_others(chat: Chat) -> None:
    """`user=` names another's thread: with threads:read_all it is shown, without it 403; one's own name is no other."""
    chat.made(title="ann's")
    chat.appended("secret")
    own = chat.api.get(chat.path)
    bob, eve = chat.acting(sub="bob", scopes=READ_ALL), chat.acting(sub="eve")
    paths = (chat.path, f"{chat.path}/messages", f"{chat.path}/stats", chat.all)
    for path in paths:
        chat.api.ok(chat.api.get(path, params={"user": "ann"}), 200)
        shown = bob.api.get(path, params={"user": "ann"})
        if not path.endswith("/stats"):  # its age goes on
            assert shown.json() == chat.api.get(path).json()
        assert problem(eve.api.get(path, params={"user": "ann"}), 403, "forbidden")["scope"] == "threads:read_all"
        assert problem(eve.api.get(path, params={"user": ""}), 422, "invalid")["errors"][0]["field"] == "user"
    assert bob.api.get(chat.path, params={"user": "ann"}).headers["etag"] == own.headers["etag"]
    problem(bob.api.get(chat.path), 404, "not_found")  # who may read all still has his own by default
    problem(bob.api.get(chat.path, params={"user": "nobody"}), 404, "not_found")
    found = problem(bob.api.post(f"{chat.path}/pop?user=ann", {}), 422, "invalid")
    assert found["errors"][0]["field"] == "user"  # nobody writes in another's
    assert chat.contents() == ["secret"]


def test_the_list_is_ones_own(chat: Chat) -> None:
    """Newest first, one's own only; with threads:read_all another's by name, or all by `all=true`."""
    first, second = chat.made().get(), chat.beside().made().get()
    bobs = chat.beside().acting(sub="bob").made().get()
    root = chat.acting(sub="root", scopes=READ_ALL).api

    def listed(api: Api, **params: Any) -> list[Any]:
        found: list[Any] = chat.api.ok(api.get(chat.all, params=params), 200)["data"]
        return found

    assert listed(chat.api) == [second, first]
    assert listed(chat.acting(sub="bob").api) == [bobs]
    assert listed(root) == []
    assert listed(root, user="ann") == [second, first]
    assert listed(root, all="true") == [bobs, second, first]
    assert listed(root, all="true", user="bob") == [bobs]
    assert listed(chat.api, all="false") == [second, first]
    assert problem(chat.api.get(chat.all, params={"all": "true"}), 403, "forbidden")["scope"] == "threads:read_all"


def test_the_list_has_pages(chat: Chat) -> None:
    """Pages hold each thread once, in one order; also everybody's of one id, which were made at one time or not."""
    for user in ("ann", "bob", "eve"):
        for id_ in (chat.id, new_uuid(), new_uuid()):
            Chat(chat.acting(sub=user).api, chat.project, id_).made()
    root = chat.acting(scopes=READ_ALL).api
    whole = chat.api.ok(root.get(chat.all, params={"all": "true"}), 200)
    assert (len(whole["data"]), whole["next"]) == (9, None)
    for limit in (1, 2, 4, 8, 9):
        pages: list[Any] = []
        after: dict[str, str] = {}
        while True:
            page = chat.api.ok(root.get(chat.all, params={"all": "true", "limit": limit, **after}), 200)
            pages.append(page["data"])
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert [thread for page in pages for thread in page] == whole["data"]
        assert all(len(page) == limit for page in pages[:-1])
    for bad in ({"limit": 0}, {"limit": 201}, {"limit": "x"}, {"unknown": 1}, {"all": "perhaps"}):
        problem(chat.api.get(chat.all, params=bad), 422, "invalid")
    problem(chat.api.get(chat.all, params={"after": "x"}), 400, "bad_cursor")


def test_what_has_not_changed_is_not_sent(chat: Chat) -> None:
    """If-None-Match is 304 until the thread changes, for the thread, its messages, the list and all its members."""
    chat.made()
    chat.appended("one")
    beside = chat.beside().made()
    for path in (chat.path, f"{chat.path}/messages", chat.all):
        tag = chat.api.get(path).headers["etag"]
        again = chat.api.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        if path != chat.all:
            beside.appended("elsewhere")
            assert chat.api.get(path, headers={"If-None-Match": tag}).status_code == 304
        chat.appended("more")
        assert chat.api.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_reads_say_where_they_were_made(chat: Chat) -> None:
    """X-Position of a write is that of its last event; a read at `min_position` waits for it, or says it cannot."""
    written = chat.append([{"role": "user", "content": number} for number in range(3)])
    position = written.headers["x-position"]
    assert position == chat.events()[-1]["position"]
    for path in (chat.path, f"{chat.path}/messages", chat.all):
        read = chat.api.get(path, params={"min_position": position})
        chat.api.ok(read, 200)
        assert read.headers["x-position"] == position
        problem(chat.api.get(path, params={"min_position": "x"}), 400, "bad_cursor")
    other = f"{'0' * 16}:1"
    assert chat.api.get(chat.path, params={"min_position": other}).status_code in (400, 503)


def test_deleted_it_is_gone(chat: Chat) -> None:
    """204 and nothing is left of it; deleted again it is 404, and what is made afterwards begins anew."""
    chat.appended("one", "two")
    answer = chat.api.delete(chat.path)
    chat.api.ok(answer, 204)
    assert answer.headers["x-position"] == chat.events()[-1]["position"]
    problem(chat.api.get(chat.path), 404, "not_found")
    problem(chat.api.get(f"{chat.path}/messages"), 404, "not_found")
    problem(chat.api.delete(chat.path), 404, "not_found")
    assert chat.api.ok(chat.api.get(chat.all), 200)["data"] == []
    assert [message["seq"] for message in chat.appended("new")] == [1]
    assert (chat.get()["version"], chat.contents()) == (2, ["new"])


def test_deletion_may_ask_for_a_version(chat: Chat) -> None:
    """If-Match of another version is 412 and the thread stays; of its own it goes; `*` is any."""
    old = chat.api.ok(chat.create(), 201) and chat.api.get(chat.path).headers["etag"]
    chat.appended("one")
    for stale in (old, '"7-0123456789ab"', "W/" + chat.api.get(chat.path).headers["etag"], "nonsense"):
        problem(chat.api.delete(chat.path, headers={"If-Match": stale}), 412, "precondition_failed")
    assert chat.contents() == ["one"]
    fresh = chat.api.get(chat.path).headers["etag"]
    chat.api.ok(chat.api.delete(chat.path, headers={"If-Match": f"{old}, {fresh}"}), 204)
    chat.made()
    chat.api.ok(chat.api.delete(chat.path, headers={"If-Match": "*"}), 204)


def test_a_service_acts_for_its_users(chat: Chat) -> None:
    """With users:act X-User names whose thread it is; without it 403."""
    service = chat.acting(sub="service", scopes=(*ALL_SCOPES, "users:act"))
    acting = {"X-User": "bob"}
    thread = chat.api.ok(service.api.post(chat.all, {"id": chat.id}, headers=acting), 201)
    assert thread["user"] == "bob"
    chat.api.ok(service.append([{"role": "user", "content": "for bob"}], headers=acting), 201)
    assert chat.acting(sub="bob").contents() == ["for bob"]
    problem(service.api.get(chat.path), 404, "not_found")
    problem(chat.api.get(chat.path, headers=acting), 403, "forbidden")


def test_nobody_asks_without_a_token(chat: Chat) -> None:
    """Without a token it is 401, on every path."""
    for method, path in (("GET", chat.all), ("POST", chat.all), ("GET", chat.path), ("POST", f"{chat.path}/messages")):
        problem(chat.api.request(method, path, headers={"Authorization": ""}), 401, "unauthenticated")
