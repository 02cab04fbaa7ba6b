"""What the SDK's runner leaves in a memory, whatever happens to an agent: the same in its own and in ours."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    Runner,
    SQLiteSession,
    function_tool,
    input_guardrail,
)
from agents.run_state import RunState

from sessioncast import Client
from sessioncast.integrations.openai_agents import Session
from support.agentmodel import QUIET, ScriptedModel, call, text

Story = Callable[[Any], Awaitable[Any]]


@function_tool
def look(what: str) -> str:
    """Look at something."""
    if what == "nothing":
        raise LookupError(what)
    return f"{what} is fine"


@function_tool(needs_approval=True)
def buy(what: str) -> str:
    """Buy something."""
    return f"bought {what}"


@input_guardrail
async def strict(*_: Any) -> GuardrailFunctionOutput:
    """Let nobody in."""
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)


def looks(call_id: str, what: str = "it") -> Any:
    """A call of the tool that looks."""
    return call("look", json.dumps({"what": what}), call_id=call_id)


def agent(*answers: list[Any], **rest: Any) -> Agent[Any]:
    """One with a script, and its tools."""
    return Agent("a", model=ScriptedModel(*answers), tools=[look, buy], **rest)


async def approved_elsewhere(session: Any) -> Any:
    """It stops for leave to buy; its state is kept as JSON, and goes on later. One call is allowed, one is not."""
    buying = [call("buy", '{"what": "milk"}', call_id=call_id) for call_id in ("c1", "c2")]
    buyer = agent([*buying, looks("c3")], [text("done")])
    stopped = await Runner.run(buyer, "buy", session=session, run_config=QUIET)
    meanwhile = await session.get_items()
    state = await RunState.from_json(buyer, json.loads(json.dumps(stopped.to_state().to_json())))
    yes, no = state.get_interruptions()
    state.approve(yes)
    state.reject(no)
    return meanwhile, (await Runner.run(buyer, state, session=session, run_config=QUIET)).final_output


async def guarded(session: Any) -> Any:
    """The guardrail lets nothing pass."""
    with pytest.raises(InputGuardrailTripwireTriggered):
        await Runner.run(agent([text("no")], input_guardrails=[strict]), "hi", session=session, run_config=QUIET)


async def failed_tool(session: Any) -> Any:
    """A tool fails; the model hears of it."""
    looker = agent([looks("c1", "nothing")], [text("sorry")])
    return (await Runner.run(looker, "look", session=session, run_config=QUIET)).final_output


async def failed_model(session: Any) -> Any:
    """The model fails in the middle; the next run goes on from what was done."""
    with pytest.raises(IndexError):
        await Runner.run(agent([looks("c1")]), "look", session=session, run_config=QUIET)
    return (await Runner.run(agent([text("ok")]), "again", session=session, run_config=QUIET)).final_output


async def endless(session: Any) -> Any:
    """It is stopped after two turns."""
    looker = agent([looks("c1")], [looks("c2")], [text("ok")])
    with pytest.raises(MaxTurnsExceeded):
        await Runner.run(looker, "look", session=session, run_config=QUIET, max_turns=2)


async def handed_over(session: Any) -> Any:
    """Another agent takes over, and keeps on later."""
    other = Agent("b", model=ScriptedModel([text("b here")], [text("still b")]))
    first = agent([call("transfer_to_b", "{}", call_id="c1")], handoffs=[other])
    await Runner.run(first, "hi", session=session, run_config=QUIET)
    return (await Runner.run(other, "and now?", session=session, run_config=QUIET)).final_output


async def agent_as_a_tool(session: Any) -> Any:
    """An agent inside an agent, with the same memory."""
    inner = Agent("b", model=ScriptedModel([text("b here")]))
    tool = inner.as_tool("ask_b", "Ask b.", session=session, run_config=QUIET)
    outer = Agent("a", model=ScriptedModel([call("ask_b", '{"input": "1"}', call_id="c1")], [text("ok")]), tools=[tool])
    return (await Runner.run(outer, "hi", session=session, run_config=QUIET)).final_output


async def stream_left(session: Any) -> Any:
    """Whoever streams has heard enough after a turn."""
    stream = Runner.run_streamed(agent([looks("c1")], [text("ok")]), "hi", session=session, run_config=QUIET)
    async for event in stream.stream_events():
        if event.type == "run_item_stream_event":
            stream.cancel(mode="after_turn")


async def lists(session: Any) -> Any:
    """Input of several items, some of which were said before."""
    model = ScriptedModel([text("1")], [text("2")])
    for said in (["a", "b"], ["b"]):
        items: Any = [{"role": "user", "content": each} for each in said]
        await Runner.run(Agent("a", model=model), items, session=session, run_config=QUIET)
    return model.texts()


STORIES = [
    approved_elsewhere,
    guarded,
    failed_tool,
    failed_model,
    endless,
    handed_over,
    agent_as_a_tool,
    stream_left,
    lists,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_the_same_story_leaves_the_same_memory(client: Client, project: str, story: Story) -> None:
    """Item for item, and to the models it was the same; also in a run."""
    theirs = SQLiteSession("chat")
    told, kept = await story(theirs), await theirs.get_items()
    theirs.close()
    assert kept
    ours = Session(uuid4(), client, project=project)
    assert (await story(ours), await ours.get_items()) == (told, kept)
    ours = Session(uuid4(), client, project=project)
    async with ours.run():
        assert (await story(ours), await ours.get_items()) == (told, kept)
