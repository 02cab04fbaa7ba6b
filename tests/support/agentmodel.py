"""An AI model for the agents SDK that says what a test wrote, without a network."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from agents import RunConfig, Usage
from agents.items import ModelResponse, TResponseInputItem, TResponseOutputItem, TResponseStreamEvent
from agents.models.interface import Model
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
)

QUIET = RunConfig(tracing_disabled=True)
"""Traces would be sent to somebody."""


def text(said: str) -> ResponseOutputMessage:
    """An answer."""
    part = ResponseOutputText(text=said, type="output_text", annotations=[])
    return ResponseOutputMessage(id="msg", role="assistant", status="completed", type="message", content=[part])


def call(name: str, arguments: str, *, call_id: str) -> ResponseFunctionToolCall:
    """A call of a tool."""
    return ResponseFunctionToolCall(
        id=f"fc_{call_id}", call_id=call_id, name=name, arguments=arguments, type="function_call"
    )


def thought() -> ResponseReasoningItem:
    """What it thought before."""
    return ResponseReasoningItem(id="rs", type="reasoning", summary=[])


class ScriptedModel(Model):
    """Gives one line of its script at each call, and keeps what it was asked.

    Attributes:
        seen: its inputs, one a call.
        asked: set while a call waits for `go`.
        go: clear it to let calls wait.
    """

    def __init__(self, *lines: list[TResponseOutputItem]) -> None:
        self.seen: list[list[TResponseInputItem]] = []
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self._lines = list(lines)

    def texts(self) -> list[list[Any]]:
        """What it was asked, as the texts that users and it itself had said."""
        return [[_text(item) for item in items if isinstance(item, dict) and "role" in item] for items in self.seen]

    async def get_response(self, system_instructions: str | None, input: Any, *_: Any, **__: Any) -> ModelResponse:  # noqa: A002  the SDK's name
        """The next line."""
        self.seen.append([{"role": "user", "content": input}] if isinstance(input, str) else list(input))
        self.asked.set()
        await self.go.wait()
        return ModelResponse(output=self._lines.pop(0), usage=Usage(), response_id=None)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: Any,  # noqa: A002  the SDK's name
        *_: Any,
        **__: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """The next line, told at once."""
        answer = await self.get_response(system_instructions, input)
        yield ResponseCompletedEvent(
            type="response.completed",
            sequence_number=0,
            response=Response(
                id="r",
                created_at=0,
                model="m",
                object="response",
                output=answer.output,
                parallel_tool_calls=False,
                tool_choice="auto",
                tools=[],
            ),
        )


def _text(item: Any) -> Any:
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
