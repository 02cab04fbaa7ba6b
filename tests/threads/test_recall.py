"""The default responder, by plain calls."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast_server.settings import load
from sessioncast_server.threads.recall import respond
from sessioncast_server.threads.responder import Context, Said, load_responder

AT = datetime(2026, 1, 2, tzinfo=UTC)
STORY = ("Create task: buy milk", "Noted.", "Add to that task: 2 litres", "Noted too.")
FORMS = (
    "find {}", "search for {}", "what {}", "list my {}", "how many {}", "summary", "what did I say", "add to that {}",
    "what did we talk about", "{}",
)  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
contents = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.sampled_from(["type", "text"]), inner),
    max_leaves=5,
)
histories = st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]) | texts, contents), max_size=8)
messages = st.builds(str.format, st.sampled_from(FORMS), texts)


def context(*said: tuple[str, Any], first: int = 1, available: bool = True) -> Context:
    """A thread in which that was said."""
    lines = tuple(Said(role, content, seq, AT) for seq, (role, content) in enumerate(said, first))
    return Context("p", "ada", "t", lines, available)


def answered(message: str, *said: tuple[str, Any], **rest: Any) -> str:
    """The whole of an answer."""
    return "".join(respond(context(*said, **rest), message))


def told(*lines: str) -> list[tuple[str, Any]]:
    """Lines of the user and of the responder by turns."""
    return [("assistant" if number % 2 else "user", line) for number, line in enumerate(lines)]


@pytest.mark.parametrize(
    "question", ["What tasks?", "which tasks do I have", "List all the open tasks.", "show my task"]
)
def test_what_was_said_of_a_thing_is_listed_in_order(question: str) -> None:
    """The seed's story: both lines about tasks are listed, by the plural and by the singular, in order."""
    assert answered(question, *told(*STORY)) == (
        f"You said 2 things about «{'task' if question.endswith('task') else 'tasks'}»:\n"
        "- #1 you: «Create task: buy milk»\n- #3 you: «Add to that task: 2 litres»"
    )


@pytest.mark.parametrize(("noun", "said"), [("stories", "a story"), ("boxes", "one box"), ("bus", "the bus")])
def test_a_noun_is_found_by_its_plural(noun: str, said: str) -> None:
    """The usual plurals are known; what only looks like one is left alone."""
    assert answered(f"which {noun}?", ("user", said)) == f"You said 1 thing about «{noun}»:\n- #1 you: «{said}»"


def test_questions_are_no_statements() -> None:
    """A question asked twice does not list itself, nor does the responder's own answer count."""
    once = answered("What tasks?", *told(*STORY))
    assert answered("What tasks?", *told(*STORY, "What tasks?", once)) == once


def test_that_is_what_the_user_said_before() -> None:
    """«That» and «it» name the user's last statement; with a noun, the last one about it."""
    said = told(*STORY[:2], "I am Ada", "Noted.", "What tasks?", "One.")
    assert "By «it» I understand what you said (#3): «I am Ada»." in answered("I like it", *said)
    assert "By «that» I understand what you said (#1): «Create task: buy milk»." in answered(
        "Add to that task: 2", *said
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many messages?", "5 messages before this one: 2 by you, 2 by me, 1 by tool."),
        ("What was the last message?", "The last thing that tool said is #5: «21 °C»."),
        ("what was the first message", "The first thing that you said is #1: «Create task: buy milk»."),
        ("What did I say last?", "The last thing that you said is #3: «Add to that task: 2 litres»."),
        ("what did you say first?", "The first thing that I said is #2: «Noted.»."),
        ("show my previous message", "The last thing that you said is #3: «Add to that task: 2 litres»."),
        ("What did I say about milk?", "You said 1 thing about «milk»:\n- #1 you: «Create task: buy milk»"),
        ("Find MILK!", "0 messages with «MILK!»."),
        ("find MILK", "1 message with «MILK»:\n- #1 you: «Create task: buy milk»"),
        ("search for «noted too»", "1 message with «noted too»:\n- #4 I: «Noted too.»"),
        ("how many litres?", "You said 1 thing about «litres»:\n- #3 you: «Add to that task: 2 litres»"),
        ("What colours?", "You said nothing about «colours» before this."),
        ("Hm", "Noted, as message 6 of those that I remember. Before it you said (#3): «Add to that task: 2 litres»."),
    ],
)
def test_what_is_asked_is_answered_from_the_thread(question: str, answer: str) -> None:
    """Each form of a question has the answer that the thread gives."""
    assert answered(question, *told(*STORY), ("tool", "21 °C")) == answer


@pytest.mark.parametrize("question", ["Summary", "what did we talk about?", "recap, please"])
def test_a_summary_lists_what_the_user_said(question: str) -> None:
    """It leaves out questions and answers."""
    said = told(*STORY, "What tasks?", "Two.")
    assert answered(question, *said) == (
        "In 6 messages you told me 2 things:\n- #1 you: «Create task: buy milk»\n- #3 you: «Add to that task: 2 litres»"
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Hello", "Noted, as the first message of this thread."),
        ("how many messages", "No message before this one."),
        ("what did I say", "Nothing was said before this by you."),
        ("what was the last message", "Nothing was said before this."),
        ("summary", "You told me nothing yet. No message before this one."),
        ("find", "Noted, as the first message of this thread."),
        ("add that", "Noted, as the first message of this thread."),
    ],
)
def test_an_empty_thread_is_told(question: str, answer: str) -> None:
    """Where nothing was said, that is the answer."""
    assert answered(question) == answer


def test_no_memory_is_told() -> None:
    """Without its history the answer says so, and does not call the message the first one."""
    assert answered("What tasks?", available=False) == (
        "I have no memory of this thread right now; I only know that you say «What tasks?»."
    )


def test_pruned_messages_are_told_of() -> None:
    """A count says where the memory begins."""
    assert answered("how many messages?", *told(*STORY), first=1001).endswith("#1001: older ones are gone.")


def test_answers_stay_short() -> None:
    """Long quotes are cut, the part that was searched for is in them, and lists name what they leave out."""
    said = [("user", f"{'word ' * 20_000}needle {'word ' * 100}")] * 30
    found = answered("find needle", *said)
    assert found.startswith("30 messages with «needle», 20 of them before these:\n- #21 you: «…word ")
    assert found.count("needle") == 11
    assert len(found) < 3000
    assert answered("word " * 20_000, *said).endswith("word…».")


def test_words_come_one_by_one() -> None:
    """There is a piece for each word, so that an answer is seen to grow."""
    pieces = list(respond(context(), "Hello"))
    assert pieces == ["Noted, ", "as ", "the ", "first ", "message ", "of ", "this ", "thread."]


def test_it_answers_where_nobody_else_is_named() -> None:
    """The setting's default names it."""
    assert load_responder(load({}).responder) is respond


def test_items_of_the_agents_sdk_are_read_as_text() -> None:
    """A line of the user that an agent's session wrote is a statement like any other; what has no text is told so."""
    said = [
        ("user", {"role": "user", "content": [{"type": "input_text", "text": "Create task: buy milk"}]}),
        ("assistant", {"type": "function_call", "name": "add", "arguments": "{}", "call_id": "c"}),
    ]
    assert answered("What tasks?", *said) == "You said 1 thing about «tasks»:\n- #1 you: «Create task: buy milk»"
    assert answered("What was the last message?", *said) == "The last thing that I said is #2: something without text."


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(histories, messages, st.booleans())
def test_every_message_has_an_answer(said: list[tuple[str, Any]], message: str, available: bool) -> None:
    """Whatever a thread holds and whatever is said: the answer is some text, in pieces none of which is empty."""
    pieces = list(respond(context(*said, available=available), message))
    assert pieces
    assert "".join(pieces).strip()
