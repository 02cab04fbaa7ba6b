"""The console's modules, called by a script in the page."""

import pytest

from sessioncast_shared import texts
from support.node import Node
from support.screen import Console

# Text of a stream, and the events in it: (type, data, last event id). WHATWG HTML, section 9.2.6, and its odd corners.
STREAMS: list[tuple[str, list[tuple[str, str, str]], str]] = [
    ("data: a\n\n", [("message", "a", "")], ""),
    ("data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")], ""),
    ("data:a\r\n\r\ndata: b\r\rdata:  c\n\n", [("message", "a", ""), ("message", "b", ""), ("message", " c", "")], ""),
    (": note\nevent: x\nid: 7\ndata: a\n\ndata: b\n\n", [("x", "a", "7"), ("message", "b", "7")], "7"),
    ("id: 8\n\n", [], "8"),
    ("id: 8\n\nid\ndata: a\n\n", [("message", "a", "")], ""),
    ("id: 1\0\ndata: a\n\nretry: x\nretry: 1\nunknown: 2\n\nid: 9\ndata: never ended", [("message", "a", "")], ""),
]


@pytest.fixture
async def modules(node: Node, console: Console) -> Console:
    """A page that can import them."""
    await console.page.goto(f"{node.url}/console/config.json")
    return console


async def test_a_stream_is_read_by_the_rules(modules: Console) -> None:
    """However the text is cut, the same events come out, with the id that a reconnect has to send."""
    script = """async ([text, size]) => {
        const { SseParser } = await import("/console/sse.js");
        const parser = new SseParser(), events = [];
        for (let at = 0; at < text.length; at += size) events.push(...parser.feed(text.slice(at, at + size)));
        return [events.map(({ type, data, lastEventId }) => [type, data, lastEventId]), parser.lastEventId];
    }"""
    for text, events, last in STREAMS:
        for size in (1, 2, 3, len(text)):
            found = await modules.page.evaluate(script, [text, size])
            assert found == [[list(event) for event in events], last], (text, size)


async def test_ephemeral_events_are_no_part_of_the_state(modules: Console) -> None:
    """What has no position is passed over, also before a snapshot, and moves no place; unknown types are told."""
    script = """async () => {
        const { Stream } = await import("/console/stream.js");
        const delta = 'data: {"type":"message.delta","data":{}}\\n\\n';
        const event = (at) => `id: e:${at}\\ndata: {"position":"e:${at}","type":"thread.created","data":{}}\\n\\n`;
        const ready = (state) => `event: ready\\ndata: {"state":"${state}"}\\n\\n`;
        const snapshot = 'event: snapshot\\nid: e:1\\ndata: {"resources":[],"position":"e:1","more":false}\\n\\n';
        const answers = [
            ready("snapshot") + delta + snapshot + delta + event(2) + delta,
            ready("resumed") + delta + event(2) + event(3) + delta,
        ];
        const asked = [], told = [], states = [];
        let over;
        const ended = new Promise((resolve) => { over = resolve; });
        window.fetch = async (url, { headers }) => {
            asked.push(new Headers(headers).get("Last-Event-ID"));
            if (answers.length === 0) over();
            const body = answers.shift() ?? "";
            return new Response(body, { status: 200, headers: { "Content-Type": "text/event-stream" } });
        };
        const stream = new Stream("/nothing", {
            state: (state, detail) => states.push([state, detail.why ?? ""]),
            snapshot: () => told.push("snapshot"),
            event: (event) => told.push(event.position),
        });
        stream.start();
        await ended;
        stream.stop();
        return [asked, told, states.filter(([, why]) => why !== "")];
    }"""
    asked, told, faults = await modules.page.evaluate(script)
    assert asked == [None, "e:2", "e:3"]
    assert told == ["snapshot", "e:2", "e:3"]
    assert faults == []


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


async def test_the_highest_version_wins(modules: Console) -> None:
    """An older session does not undo a newer one, an ended one does not come back, and output moves its own fields."""
    script = """async () => {
        const { Board } = await import("/console/board.js");
        const board = new Board();
        const at = (second) => `2026-01-01T00:00:0${second}Z`;
        const session = (version, more) =>
            ({ id: "s", version, deleted_at: null, output_seq: 0, last_activity_at: at(0), ...more });
        const told = () => {
            const { version, output_seq, last_activity_at } = board.sessions.get("s") ?? {};
            return [version ?? null, output_seq ?? null, last_activity_at ?? null];
        };
        const seen = [];
        board.session(session(2)); seen.push(told());
        board.session(session(1)); seen.push(told());
        const data = { first: 1, last: 3, chunks: [] };
        board.take({ type: "session.output", session_id: "s", at: at(5), data }); seen.push(told());
        board.take({ type: "session.updated", data: session(3, { output_seq: 2 }) }); seen.push(told());
        board.take({ type: "session.replaced", data: session(4, { deleted_at: at(6) }) }); seen.push(told());
        board.session(session(3)); seen.push(told());
        return seen;
    }"""
    start, later = "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z"
    gone = [None, None, None]
    assert await modules.page.evaluate(script) == [
        *([2, 0, start], [2, 0, start], [2, 3, later], [3, 3, later]),
        *(gone, gone),
    ]


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
