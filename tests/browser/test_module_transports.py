"""The browser's module over each way to a real node."""

import pytest

from sessioncast import Client
from support.modulepage import ModulePage
from support.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_what_is_changed_is_seen(module_page: ModulePage, shared_node: Node, transport: str) -> None:
    """Over each way a snapshot comes first, then every change, in order; the mirror is what the server has."""
    async with Client(shared_node.url) as client:
        project = f"seen-{transport}"
        await client.projects.put(project)
        task = await client.tasks.create(project, "T")
        await module_page.begin(project, transport=transport, limits={"pollFactor": 0.05})
        await module_page.state("polling" if transport == "poll" else "live", transport)
        assert await module_page.look("[told.snapshots, [...live.tasks.keys()]]") == [1, [task.id]]
        session = (await client.sessions.start(task.id, "run", "m")).session
        await client.sessions.append(session.id, [("log", "one\n"), ("log", "two\n")])
        await client.sessions.patch(session.id, status="running")
        await module_page.until("live.sessions.size === 1 && [...live.sessions.values()][0].status === 'running'")
        types = await module_page.look("told.events.map(([, type]) => type)")
        assert types == ["session.created", "session.output", "session.updated"]
        seen = await module_page.look(f"live.sessions.get('{session.id}')")
        assert (seen["output_seq"], seen["version"]) == (2, 2)
        await client.sessions.delete(session.id)
        await module_page.until("live.sessions.size === 0")
        assert await module_page.look("told.gaps") == []
        await module_page.look("c.close()")
        assert await module_page.look("told.states.at(-1)") == ["closed", None]


async def test_changes_are_told_once_a_frame(module_page: ModulePage, shared_node: Node) -> None:
    """However many events there were, a resource has one change; who waits for a state is told by its last one."""
    async with Client(shared_node.url) as client:
        await client.projects.put("frames")
        task = await client.tasks.create("frames", "T")
        session = (await client.sessions.start(task.id, "run", "m")).session
        await module_page.begin("frames")
        assert await module_page.look("(await live.ready()).sessions.size") == 1
        await module_page.page.evaluate(
            """(id) => {
                const live = window.connections.c.live();
                window.told.c.changes.length = 0;
                window.done = live.until(({ status }) => status === "completed", { session: id });
                window.requestAnimationFrame = (draw) => { window.draw = draw; };
            }""",
            session.id,
        )
        for status in ("running", "idle", "completed"):
            await client.sessions.patch(session.id, status=status)
        await client.sessions.delete(session.id)
        assert (await module_page.page.evaluate("window.done"))["status"] == "completed"
        await module_page.until("live.sessions.size === 0")
        await module_page.page.evaluate("window.draw()")
        seen = (
            "told.changes.map(({ kind, before, after, last }) => [kind, before?.status, after, last?.deleted_at > ''])"
        )
        assert await module_page.look(seen) == [["session", "pending", None, True]]
        await module_page.look("c.close()")
        assert await module_page.look("await live.ready().catch((error) => error.name)") == "AbortError"


async def test_ephemeral_events_are_no_part_of_the_state(module_page: ModulePage) -> None:
    """What has no position moves no place; before a snapshot, and of an unknown type, it is passed over."""
    script = """async () => {
        const delta = (type) => `data: {"type":"${type}","data":{"message_id":"m","index":0,"text":"t"}}\\n\\n`;
        const event = (at) => `id: e:${at}\\ndata: {"position":"e:${at}","type":"x.made","data":{}}\\n\\n`;
        const ready = (state) => `event: ready\\ndata: {"state":"${state}"}\\n\\n`;
        const snapshot = 'event: snapshot\\nid: e:1\\ndata: {"resources":[],"position":"e:1","more":false}\\n\\n';
        const [known, unknown] = [delta("message.delta"), delta("message.other")];
        const answers = [
            ready("snapshot") + known + snapshot + known + event(2) + unknown,
            ready("resumed") + known + event(2) + event(3) + unknown,
        ];
        const asked = [], told = [];
        let over;
        const ended = new Promise((resolve) => { over = resolve; });
        window.fetch = async (url, { headers }) => {
            if (!String(url).includes("/events")) return new Response("{}");
            asked.push(headers["Last-Event-ID"] ?? null);
            if (answers.length === 0) over();
            return new Response(answers.shift() ?? "", { headers: { "Content-Type": "text/event-stream" } });
        };
        const limits = { backoffBaseS: 0.01, firstLoadS: [0, 0, 0] };
        const connection = window.module.connect("", { project: "p", transport: "sse", share: false, limits });
        connection.addEventListener("snapshot", () => told.push("snapshot"));
        connection.addEventListener("event", ({ detail }) => told.push(detail.position));
        connection.addEventListener("delta", ({ detail }) => told.push(detail.data.text));
        await ended;
        connection.close();
        return [asked, told];
    }"""
    asked, told = await module_page.page.evaluate(script)
    assert asked == [None, "e:2", "e:3"]
    assert told == ["snapshot", "t", "e:2", "t", "e:3"]


async def test_options_that_cannot_be_are_refused(module_page: ModulePage) -> None:
    """At once, by the name of what is wrong; nothing is opened."""
    wrong = [None, {}, {"project": "p", "transport": "pigeon"}, {"project": "p", "limits": {"nope": 1}}]
    said = await module_page.page.evaluate(
        """(wrong) => wrong.map((options) => {
            try {
                return window.module.connect("", options) && "taken";
            } catch (error) {
                return `${error.name}: ${error.message}`;
            }
        })""",
        wrong,
    )
    assert said == [
        "TypeError: connect needs the id of a project",
        "TypeError: connect needs the id of a project",
        "TypeError: no transport: pigeon",
        "TypeError: no limit: nope",
    ]
    assert module_page.sockets == 0
