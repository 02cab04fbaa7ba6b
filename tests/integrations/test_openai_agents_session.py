"""What our session does that the SDK does not ask for: whose it is, how it is added to, and how it ends."""

import asyncio
import json
import subprocess
import sys
from typing import Any
from uuid import UUID, uuid4

import pytest

from sessioncast import Client, CommitUnknown, Forbidden, Limits, NewMessage, NotFound, SyncClient, TooLarge
from sessioncast.integrations.openai_agents import NAMESPACE, Session, thread_id
from sessioncast_server.auth.tokens import make_token
from support.api import SECRET
from support.node import NodeFactory, NodeProcess
from support.scripted import Reply, scripted_server

Items = list[Any]


def lines(*texts: str) -> Items:
    """What a user said."""
    return [{"role": "user", "content": text} for text in texts]


async def test_names_are_threads_of_a_user(client: Client, project: str, node: NodeProcess) -> None:
    """The same name is another thread in another project, and for another user; a UUID is the thread itself."""
    session = Session("chat", client, project=project)
    assert session.session_id == thread_id(project, "local", "chat")
    assert UUID(session.session_id).version == 5
    ids = {Session(name, client, project=p, user=u).session_id for name in "ab" for p in "ab" for u in ("a", "b", None)}
    assert len(ids) == 12
    id_ = uuid4()
    assert Session(id_, client, project=project).session_id == str(id_)
    assert Session(str(id_).upper(), client, project=project, user="ann").session_id == str(id_)
    async with Client(node.url, user="ann") as ann:
        assert Session("chat", ann, project=project).session_id == thread_id(project, "ann", "chat")


def test_the_id_of_a_name_never_changes() -> None:
    """Threads that are there must be found: namespace, form and spelling are part of the interface."""
    assert str(NAMESPACE) == "6f1c9bd3-1d58-4a7e-9a53-6c4b0e7f2d81"
    assert thread_id("demo", "ann", 'süß "x"') == "b364dfc4-755d-5113-bed9-386c64ebcc24"


async def test_one_client_serves_many_users(client: Client, project: str) -> None:
    """Each has his own thread under the name, also under one UUID, and sees nothing of the others'."""
    id_ = uuid4()
    sessions = [Session(name, client, project=project, user=user) for name in ("chat", id_) for user in ("ann", "bob")]
    for number, session in enumerate(sessions):
        await session.add_items(lines(str(number)))
    assert [await session.get_items() for session in sessions] == [lines(str(number)) for number in range(4)]
    async with sessions[0].run():
        await sessions[0].add_items(lines("in a run"))
    assert (await client.threads.acting_for("ann").get(project, sessions[0].session_id)).message_count == 2
    with pytest.raises(NotFound):
        await client.threads.get(project, sessions[0].session_id)


async def test_a_token_tells_whose_the_name_is(node_factory: NodeFactory) -> None:
    """Its subject's; another's thread needs the right to act for him."""
    node = await node_factory(env={"SESSIONCAST_JWT_SECRET": SECRET})

    def token(sub: str, *scopes: str) -> str:
        return make_token(SECRET, sub=sub, projects="*", scopes=["sessions:read", "sessions:write", *scopes], ttl_s=99)

    async with Client(node.url, token("ann")) as ann, Client(node.url, token("service", "users:act")) as service:
        await service.projects.put("p")
        session = Session("chat", ann, project="p")
        await session.add_items(lines("a"))
        assert session.session_id == thread_id("p", "ann", "chat")
        assert (await ann.threads.get("p", session.session_id)).user == "ann"
        with pytest.raises(Forbidden):
            await Session("chat", ann, project="p", user="bob").add_items(lines("b"))
        assert await Session("chat", service, project="p", user="ann").get_items() == lines("a")
        assert await Session("chat", service, project="p").get_items() == []


def test_a_token_that_does_not_tell_needs_a_name() -> None:
    """Of the user, or of the thread."""
    client = Client(token="opaque")
    with pytest.raises(ValueError, match="say `user`"):
        Session("chat", client, project="p")
    assert Session("chat", client, project="p", user="ann").session_id == thread_id("p", "ann", "chat")
    assert Session(UUID(int=1), client, project="p").session_id == str(UUID(int=1))


async def test_a_session_needs_no_project_where_there_is_one(client: Client) -> None:
    """Without a token it is `default`, made with the first items or run; with one, the token's only project."""
    name = uuid4().hex
    assert await Session(name, client).get_items() == []
    async with Session(name, client).run():
        await Session(name, client).add_items(lines("hello"))
    assert Session(name, client).project == "default"
    assert await Session(name, client, project="default").get_items() == lines("hello")
    made = make_token(SECRET, sub="ann", projects=["one"], scopes=["sessions:write"], ttl_s=60)
    async with Client("http://127.0.0.1:9", made) as other:
        assert Session(name, other).project == "one"
    for projects in ("*", ["one", "two"]):
        several = make_token(SECRET, sub="ann", projects=projects, scopes=[], ttl_s=60)
        with pytest.raises(ValueError, match="does not have exactly one project"):
            Session(name, Client("http://127.0.0.1:9", several))


def test_a_synchronous_client_is_refused_by_name() -> None:
    """The SDK awaits."""
    with pytest.raises(TypeError, match="not a SyncClient"):
        Session("chat", SyncClient(), project="p")  # type: ignore[arg-type]  # that is what is tested


async def test_plain_texts_of_others_are_items(ours: Session, client: Client) -> None:
    """What was said over `/chatkit`, say; what the SDK itself adds as a bare text comes back as one."""
    await client.threads.say(ours.project, ours.session_id, "user", "hi")
    await client.threads.say(ours.project, ours.session_id, "assistant", "hello")
    await client.threads.append(ours.project, ours.session_id, NewMessage([1], role="user"))
    await ours.add_items(["bare", None, 7])  # type: ignore[list-item]  # no item of the SDK's, but JSON
    assert await ours.get_items() == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        [1],
        "bare",
        None,
        7,
    ]


async def test_a_project_that_is_not_there_is_told_by_the_first_items(client: Client) -> None:
    """Reading finds nothing; adding says why."""
    session = Session("chat", client, project="nowhere")
    assert await session.get_items() == []
    with pytest.raises(NotFound):
        await session.add_items(lines("a"))


async def test_more_than_one_append_takes_comes_in_parts(client: Client, project: str, node: NodeProcess) -> None:
    """In a run of its own, or in the one that lasts; the server keeps the newest, in order."""
    async with Client(node.url, limits=Limits(body_bytes=8192)) as small:
        session = Session("chat", small, project=project)
        many = lines(*(f"{number:04d}" + "x" * 300 for number in range(60)))
        await session.add_items(list(many))
        assert await session.get_items() == many
        async with session.run():
            await session.add_items(list(many))
            assert await session.get_items() == many + many
        with pytest.raises(TooLarge):
            await session.add_items(lines("a", "x" * 9000))
        assert len(await session.get_items()) == 120
    async with client.threads.run(project, session.session_id, wait_s=0):
        pass


async def test_deleting_takes_the_thread_away(ours: Session, client: Client) -> None:
    """Of one that is not there nothing is taken; afterwards it begins anew."""
    await ours.delete()
    await ours.add_items(lines("a"))
    await ours.clear_session()
    assert (await client.threads.get(ours.project, ours.session_id)).message_seq == 1
    await ours.delete()
    with pytest.raises(NotFound):
        await client.threads.get(ours.project, ours.session_id)
    await ours.add_items(lines("b"))
    assert await ours.get_items() == lines("b")


SAID = {
    "id": "m",
    "thread_id": "h",
    "user": "local",
    "seq": 1,
    "role": "user",
    "content": 1,
    "created_at": "2026-01-01T00:00:00Z",
}


async def test_what_may_have_been_added_is_added_again_under_the_same_ids() -> None:
    """Whoever tries the same again next adds it once; other items, and the same ones later, are new."""
    unknown = Reply(503, {"code": "commit_unknown", "retryable": True}, {"Retry-After": "9"})
    done = Reply(201, {"data": [SAID]})
    async with scripted_server() as server, Client(server.url, limits=Limits(attempt_s=1, turn_s=1)) as client:
        session = Session("chat", client, project="p")
        for said, answer in (("y", unknown), ("y", done), ("y", done), ("a", unknown), ("b", done), ("a", done)):
            server.say(answer)
            if answer is unknown:
                with pytest.raises(CommitUnknown):
                    await session.add_items(lines(said))
            else:
                await session.add_items(lines(said))
        ids = [json.loads(seen.body)["messages"][0]["id"] for seen in server.seen]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 5


async def test_who_is_cancelled_while_adding_waits_for_what_becomes_of_it(ours: Session, client: Client) -> None:
    """The items are there when the cancellation arrives, however often it was meant: nobody has to guess."""
    async with client.threads.run(ours.project, ours.session_id):
        task = asyncio.create_task(ours.add_items(lines("a")))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        assert not (await asyncio.wait({task}, timeout=0.05))[0]
    await asyncio.wait({task})
    assert task.cancelled()
    assert await ours.get_items() == lines("a")


def test_the_extra_is_named_where_it_is_missing() -> None:
    """An ImportError that says what to install; the SDK is loaded by nothing else."""
    code = (
        "import sys; import sessioncast; assert 'agents' not in sys.modules; sys.modules['agents'] = None\n"
        "try: import sessioncast.integrations.openai_agents\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'sessioncast[agents]'" in done.stdout


def test_its_text_tells_no_secrets() -> None:
    """The thread and its project, not the name, which may be a person's."""
    session = Session("ann@example.org", Client(), project="p")
    assert repr(session) == f"<Session {session.session_id} in p>"
