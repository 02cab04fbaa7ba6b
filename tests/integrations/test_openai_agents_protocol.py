"""What the SDK expects of a session: its own, in memory, and ours do the same."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner, SessionSettings, SQLiteSession
from agents.memory import OpenAIResponsesCompactionSession
from agents.memory import Session as Protocol
from agents.memory.session import is_openai_responses_compaction_aware_session
from agents.run_internal.session_persistence import rewind_session_items

from sessioncast.integrations.openai_agents import Session
from support.agentmodel import ScriptedModel, text

Items = list[Any]


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
