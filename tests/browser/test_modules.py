"""The console's modules, called by a script in the page."""

import pytest

from sessioncast_shared import texts
from support.node import Node
from support.screen import Console


@pytest.fixture
async def modules(node: Node, console: Console) -> Console:
    """A page that can import them."""
    await console.page.goto(f"{node.url}/console/config.json")
    return console


OUTPUT = """async ([known, events, stored]) => {
    const { Output } = await import("/console/output.js");
    const asked = [], shown = [];
    window.fetch = async (path) => {
        const after = Number(new URL(path, location).searchParams.get("after"));
        asked.push(after);
        const all = Array.from({ length: stored }, (_, at) => ({ seq: at + 1, text: String(at + 1) }));
        return new Response(JSON.stringify({ data: all.slice(after, after + 200), next: null }));
    };
    await new Promise((loaded) => {
        const output = new Output("s", {
            chunk: ({ seq }) => shown.push(seq),
            loaded: () => output.shown >= stored && loaded(),
            failed: (error) => { throw error; },
        });
        output.know(known);
        for (const [first, last, carried] of events) {
            const chunks = carried ? Array.from({ length: last - first + 1 }, (_, at) => ({ seq: first + at })) : [];
            output.take({ first, last, chunks });
        }
    });
    return [shown, asked];
}"""


# What is known from a snapshot, events (first, last, whether with chunks), chunks in the store, readings asked for.
OUTPUTS: dict[str, tuple[int, list[tuple[int, int, bool]], int, list[int]]] = {
    "in order": (0, [(1, 2, True), (3, 3, True)], 3, []),
    "overlapping": (0, [(1, 3, True), (2, 4, True), (1, 4, True)], 4, []),
    "a hole": (0, [(1, 2, True), (5, 6, True)], 6, [2]),
    "without chunks": (0, [(1, 2, True), (3, 4, False)], 4, [2]),
    "known from a snapshot": (450, [], 450, [0, 200, 400]),
    "an event before the reading's answer": (3, [(4, 5, True), (6, 6, True)], 6, [0]),
}


async def test_output_is_shown_once_and_in_order(modules: Console) -> None:
    """Each chunk once, in order of `seq`, whatever events carry; only what is missing is asked for."""
    for case, (known, events, stored, asked) in OUTPUTS.items():
        found = await modules.page.evaluate(OUTPUT, [known, events, stored])
        assert found == [list(range(1, stored + 1)), asked], case


async def test_texts_are_those_of_the_interface(modules: Console) -> None:
    """The page's copies of the exact texts are the ones that the server sends."""
    found = await modules.page.evaluate("""async () => (await import("/console/texts.js")).texts""")
    assert found == {
        "sameModel": texts.SAME_MODEL,
        "confirm": texts.CONFIRM,
        "loss": texts.LOSS,
        "busy": texts.BUSY,
        "createFailed": texts.CREATE_FAILED,
        "unavailable": texts.UNAVAILABLE,
        "unexpected": texts.UNEXPECTED,
        "modelMissing": texts.MODEL_MISSING,
        "loadFailed": texts.LOAD_FAILED,
    }
    script = """async () => {
        const { LOAD_FAILED, Refused } = await import("/client/sessioncast.js");
        return [LOAD_FAILED, new Refused(0).message, new Refused(418).message];
    }"""
    assert await modules.page.evaluate(script) == [texts.LOAD_FAILED, texts.UNAVAILABLE, texts.UNEXPECTED]


# Status, problem document or none, and what is said of it: lines, and whether trying again is offered.
CHANGES: list[tuple[int, dict[str, str], list[str], bool]] = [
    (503, {"code": "create_failed", "detail": texts.CREATE_FAILED}, [texts.CREATE_FAILED], True),
    (503, {"code": "unavailable", "detail": texts.UNAVAILABLE}, [texts.UNAVAILABLE], True),
    (503, {"code": "unavailable"}, [texts.UNAVAILABLE], True),
    (409, {"code": "session_being_modified", "detail": texts.BUSY}, [texts.BUSY], True),
    (429, {"code": "too_many", "detail": "Too many."}, ["Too many."], True),
    (
        500,
        {"code": "unexpected", "detail": texts.UNEXPECTED, "request_id": "r"},
        [texts.UNEXPECTED, "Request r"],
        False,
    ),
    (422, {"code": "model_not_found", "detail": texts.MODEL_MISSING}, [texts.MODEL_MISSING], False),
    (403, {"code": "forbidden", "detail": "Why."}, ["You have no right to do this.", "Why."], False),
    (404, {"code": "not_found", "detail": "Not found."}, ["missing"], False),
    (409, {"code": "fenced", "detail": "Another."}, ["Another."], False),
    (418, {}, [texts.UNEXPECTED], False),
]
# Whoever answers these, the server may have done what it was asked for.
CHANGES += [
    (status, document, ["failed", "Whether the server did it is not known. Trying again does not do it twice."], True)
    for status, document in ((502, {}), (504, {}), (503, {"code": "commit_unknown", "detail": "Repeat."}))
]


async def test_refusals_are_told_in_words(modules: Console) -> None:
    """Each refusal has its text, and only what may pass or may have been done is offered to be tried again."""
    script = """async ([status, document]) => {
        const { refusal } = await import("/console/api.js");
        const { changeProblem } = await import("/console/problems.js");
        const problem = await refusal(new Response(JSON.stringify(document), { status }));
        const { lines, again } = changeProblem(problem, { title: "title", failed: "failed", missing: "missing" });
        return [lines, again];
    }"""
    for status, document, lines, again in CHANGES:
        assert await modules.page.evaluate(script, [status, document]) == [lines, again], (status, document)
