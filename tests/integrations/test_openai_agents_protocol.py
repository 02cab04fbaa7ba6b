"""What the SDK expects of a session: its own, in memory, and ours do the same."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from agents import Agent, RunConfig, Runner, SessionSettings, SQLiteSession
from agents.memory import OpenAIResponsesCompactionSession
from agents.memory import Session as Protocol
from agents.memory.session import is_openai_responses_compaction_aware_session
from agents.run_internal.session_persistence import rewind_session_items

from sessioncast import Client, CommitUnknown, Limits, NewMessage, NotFound, SyncClient, TooLarge
from sessioncast.integrations.openai_agents import NAMESPACE, Session, thread_id
from support.agentmodel import ScriptedModel, text
from support.node import NodeProcess
from support.ports import free_port
from support.scripted import Reply, scripted_server

Items = list[Any]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own."""
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env={}, arguments=()) as started:
        yield started


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


@pytest.fixture
async def project(client: Client) -> str:
    """A new project."""
    return (await client.projects.put(f"p-{uuid4().hex}")).id


@pytest.fixture
async def ours(client: Client, project: str) -> Session:
    """A session whose thread is not there yet."""
    return Session("chat", client, project=project)


@pytest.fixture(params=["sdk", "ours"])
def session(request: pytest.FixtureRequest, ours: Session) -> Iterator[Any]:
    """A session without items, once of each kind."""
    if request.param == "ours":
        yield ours
        return
    theirs = SQLiteSession("chat")
    yield theirs
    theirs.close()


def lines(*texts: str) -> Items:
    """What a user said."""
    return [{"role": "user", "content": text} for text in texts]


EVERY_KIND: Items = [
    {"content": "hi", "role": "user"},
    {
        "role": "user",
        "content": [{"type": "input_text", "text": "what is it?"}, {"type": "input_image", "image_url": "x"}],
    },
    {"id": "rs_1", "summary": [], "type": "reasoning", "encrypted_content": None, "status": None},
    {"arguments": '{"city":"Rome"}', "call_id": "c1", "name": "weather", "type": "function_call", "id": "fc_1"},
    {"call_id": "c1", "output": [{"type": "input_text", "text": "sun"}], "type": "function_call_output"},
    {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "queries": []}},
    {"type": "mcp_approval_request", "id": "a1", "name": "n", "arguments": "{}", "server_label": "s"},
    {"type": "mcp_approval_response", "approval_request_id": "a1", "approve": True, "reason": None},
    {
        "id": "msg_1",
        "content": [{"annotations": [], "text": "Süß — 🌞\n\t\\", "type": "output_text", "logprobs": None}],
        "role": "assistant",
        "status": "completed",
        "type": "message",
    },
    {"id": "ref", "type": None},
    {"type": "compaction", "encrypted_content": "x", "n": [0, -1, 1.5, 1e-9, 2**53, True, False, None, {}, []]},
    {"role": "", "content": ""},
    {"role": "r" * 201, "content": ""},
]


class TestBothDoTheSame:
    """Cases that each kind of session passes."""

    async def test_it_is_a_session_of_the_sdk(self, session: Any) -> None:
        """By its own look; one that does not compact by itself."""
        assert isinstance(session, Protocol)
        assert session.session_settings == SessionSettings()
        assert not is_openai_responses_compaction_aware_session(session)

    async def test_a_new_one_has_nothing(self, session: Any) -> None:
        """Neither items, nor one to pop; clearing it is no mistake."""
        assert await session.get_items() == []
        assert await session.pop_item() is None
        assert await session.clear_session() is None
        assert await session.add_items([]) is None
        assert await session.get_items(limit=5) == []

    async def test_items_come_back_as_they_were(self, session: Any) -> None:
        """Equal, None and all, their keys in their order, their numbers of their kinds."""
        await session.add_items(list(EVERY_KIND))
        assert json.dumps(await session.get_items()) == json.dumps(EVERY_KIND)

    async def test_adding_leaves_the_callers_items_alone(self, session: Any) -> None:
        """The list and what is in it are his."""
        given = lines("a", "b")
        await session.add_items(given)
        assert given == lines("a", "b")

    @pytest.mark.parametrize(
        ("limit", "texts"),
        [
            (None, "abcd"),
            (1, "d"),
            (3, "bcd"),
            (4, "abcd"),
            (9, "abcd"),
            (2_147_483_647, "abcd"),
            (0, ""),
            (-1, "abcd"),
        ],
    )
    async def test_a_limit_means_the_newest_in_their_order(self, session: Any, limit: int | None, texts: str) -> None:
        """None and less than zero: all; zero: none; more than there are: all."""
        await session.add_items(lines("a", "b"))
        await session.add_items(lines("c", "d"))
        assert await session.get_items(limit=limit) == lines(*texts)
        assert await session.get_items(limit) == lines(*texts)

    async def test_settings_are_the_limit_of_who_names_none(self, session: Any) -> None:
        """As settings or as a dict, also when they are set later; a limit that is named counts before them."""
        await session.add_items(lines("a", "b", "c"))
        for settings in (SessionSettings(limit=2), {"limit": 2}):
            session.session_settings = settings
            assert await session.get_items() == lines("b", "c")
            assert await session.get_items(limit=1) == lines("c")
            assert await session.get_items(limit=-1) == lines("a", "b", "c")
        session.session_settings = None
        assert await session.get_items() == lines("a", "b", "c")
        session.session_settings = SessionSettings(limit=0)
        assert await session.get_items() == []

    async def test_popping_takes_the_newest(self, session: Any) -> None:
        """One after the other until there is none; what is added then is the newest."""
        await session.add_items(lines("a", "b", "c"))
        assert [await session.pop_item(), await session.pop_item()] == lines("c", "b")
        await session.add_items(lines("d"))
        assert await session.get_items() == lines("a", "d")
        assert [await session.pop_item() for _ in range(3)] == [*lines("d", "a"), None]

    async def test_clearing_takes_all(self, session: Any) -> None:
        """And it goes on from there."""
        await session.add_items(lines("a", "b"))
        await session.clear_session()
        assert await session.get_items() == []
        await session.add_items(lines("c"))
        assert await session.get_items() == lines("c")

    async def test_the_same_items_again_are_items_again(self, session: Any) -> None:
        """Nobody takes them for the same."""
        for _ in range(2):
            await session.add_items(lines("yes"))
        assert await session.get_items() == lines("yes", "yes")

    @pytest.mark.parametrize("item", [{"role": "user", "content": {1, 2}}, {"role": "user", "content": object()}])
    async def test_what_is_no_json_is_refused_whole(self, session: Any, item: Any) -> None:
        """Nothing of what it came with is kept."""
        with pytest.raises(TypeError):
            await session.add_items([*lines("a"), item])
        assert await session.get_items() == []

    async def test_a_closed_one_refuses(self, session: Any) -> None:
        """Every call, whatever it would have had to do; closing again is nothing."""
        session.close()
        session.close()
        for call in (session.get_items, session.pop_item, session.clear_session, lambda: session.add_items([])):
            with pytest.raises(RuntimeError, match="closed"):
                await call()

    async def test_a_run_reads_no_more_than_its_settings_say(self, session: Any) -> None:
        """Those of the run before those of the session."""
        await session.add_items(lines("a", "b", "c"))
        session.session_settings = SessionSettings(limit=2)
        model = ScriptedModel([text("x")], [text("y")])
        agent = Agent("a", model=model)
        await Runner.run(agent, "1", session=session, run_config=RunConfig(tracing_disabled=True))
        few = RunConfig(tracing_disabled=True, session_settings=SessionSettings(limit=1))
        await Runner.run(agent, "2", session=session, run_config=few)
        assert model.texts() == [["b", "c", "1"], ["x", "2"]]

    async def test_a_callback_decides_what_is_sent_and_not_what_is_kept(self, session: Any) -> None:
        """History that it drops stays in the session, and is not added anew."""
        await session.add_items(lines("a", "b"))
        model = ScriptedModel([text("x")])
        config = RunConfig(tracing_disabled=True, session_input_callback=lambda history, new: [*new, *history[-1:]])
        await Runner.run(Agent("a", model=model), "1", session=session, run_config=config)
        assert model.texts() == [["1", "b"]]
        kept = [item["content"] for item in await session.get_items()]
        assert kept[:3] == ["a", "b", "1"]
        assert len(kept) == 4

    async def test_it_can_be_compacted(self, session: Any) -> None:
        """The SDK's wrapper puts a summary in the place of what was there."""
        summary = {"type": "compaction", "encrypted_content": "much"}

        async def compact(**_: Any) -> Any:
            return SimpleNamespace(output=[summary], usage=None)

        openai: Any = SimpleNamespace(responses=SimpleNamespace(compact=compact))
        whole = OpenAIResponsesCompactionSession("chat", session, client=openai, compaction_mode="input")
        await whole.add_items(lines("a", "b"))
        await whole.run_compaction({"force": True})
        assert await session.get_items() == [summary]
        await session.add_items(lines("c"))
        assert await whole.get_items() == [summary, *lines("c")]

    async def test_a_failed_try_is_taken_back(self, session: Any) -> None:
        """The SDK pops what it had added, comparing; what was there before stays."""
        await session.add_items(lines("a"))
        tried = [*lines("b"), {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": None}]
        await session.add_items(tried)
        await rewind_session_items(session, tried)
        assert await session.get_items() == lines("a")
        await rewind_session_items(session, lines("x"))
        assert await session.get_items() == lines("a")


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


def test_a_token_that_does_not_tell_needs_a_name() -> None:
    """Of the user, or of the thread."""
    client = Client(token="opaque")
    with pytest.raises(ValueError, match="say `user`"):
        Session("chat", client, project="p")
    assert Session("chat", client, project="p", user="ann").session_id == thread_id("p", "ann", "chat")
    assert Session(UUID(int=1), client, project="p").session_id == str(UUID(int=1))


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


SAID = {"id": "m", "thread_id": "h", "seq": 1, "role": "user", "content": 1, "created_at": "2026-01-01T00:00:00Z"}


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
