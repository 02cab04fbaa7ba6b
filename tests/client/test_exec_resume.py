"""`sessioncast exec --resume` with real commands, against a real node."""

import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sessioncast import Client, ProviderState, SessionBeingModified, Usage
from sessioncast_shared import texts
from support.command import Command
from support.node import NodeFactory, NodeProcess
from support.ports import free_port
from support.providing import given, newest_id, rows
from support.terminal import Terminal

AGENT = """
import json, os, pathlib, sys, time
names = ("RESUME_ID", "PROVIDER_SESSION_ID", "SESSION_ID", "RESULT_FILE")
told = {name: os.environ.get(f"SESSIONCAST_{name}") for name in names}
print(json.dumps(told), flush=True)
steps = pathlib.Path(sys.argv[1])
step, *rest = json.loads(steps.read_text())
steps.write_text(json.dumps(rest))
if step.get("result") is not None:
    pathlib.Path(told["RESULT_FILE"]).write_text(step["result"])
if "wait" in step:
    pathlib.Path(step["wait"]).with_suffix(".ready").touch()
    while not pathlib.Path(step["wait"]).exists():
        time.sleep(0.01)
sys.exit(step.get("code", 0))
"""
"""Tells its variables, then does the next of its steps: writes a result, waits for a file, leaves with a code."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own."""
    env = {"SESSIONCAST_LEASE_LOOK_S": "0.05"}
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=env, arguments=()) as started:
        yield started


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


class Runner:
    """Runs the agent in a project of its own, as `exec --resume`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.project = given("p")
        self.session = ""

    def command(self, *steps: Mapping[str, Any], options: tuple[str, ...] = ()) -> Command:
        """The command, not yet started."""
        plan = self.folder / f"{given('steps')}.json"
        plan.write_text(json.dumps(steps))
        agent = ("--", sys.executable, "-c", AGENT, str(plan))
        wish = ("--resume", "--project", self.project, "--task", "T", *options)
        return Command(self.folder, self.url, "exec", *wish, *agent)

    async def run(
        self, *steps: Mapping[str, Any], options: tuple[str, ...] = ()
    ) -> tuple[int, list[dict[str, str | None]], str]:
        """Exit code, the variables that each of its runs was given, and what was said on stderr."""
        async with self.command(*steps, options=options) as command:
            code = await command.ended()
        found = re.search(r"session ([0-9a-f-]{36})", command.err)
        assert found is not None, command.err
        self.session = found[1]
        return code, [json.loads(line) for line in command.out.splitlines()], command.err


@pytest.fixture
def runner(tmp_path: Path, node: NodeProcess) -> Runner:
    """A runner against the node of this file."""
    return Runner(tmp_path, node.url)


async def test_each_run_is_told_what_the_last_one_gave_out(runner: Runner, client: Client) -> None:
    """At first an id to begin with, then what to resume; in one session, whose status is that of the last run."""
    a, b = given("A"), given("B")
    code, (first,), _ = await runner.run({"result": f"{a}\n"})
    assert code == 0
    assert first["RESUME_ID"] is None
    assert first["SESSION_ID"] == runner.session
    session = runner.session
    usage = {"tokens": 100, "cached_tokens": 90, "turns": 2, "cost_usd": 0.25}
    full = {"provider_session_id": b, "usage": usage, "structure_fingerprint": {"a.py": "1"}}
    code, (second,), _ = await runner.run({"result": json.dumps(full), "code": 3})
    assert (code, runner.session) == (3, session)
    assert (second["RESUME_ID"], second["PROVIDER_SESSION_ID"]) == (a, None)
    code, (third,), _ = await runner.run({})
    assert (third["RESUME_ID"], runner.session) == (b, session)
    found = await rows(client, session)
    assert [(row.resumed_from, row.provider_session_id, row.state) for row in found] == [
        (None, a, ProviderState.ENDED),
        (a, b, ProviderState.ENDED),
        (b, b, ProviderState.ENDED),
    ]
    assert first["PROVIDER_SESSION_ID"] not in (None, a)
    assert found[1].usage == Usage.model_validate(usage)
    assert found[1].structure_fingerprint is not None
    whole = await client.sessions.get(session)
    assert (whole.status, whole.metadata["exit_code"]) == ("completed", 0)
    assert whole.output_seq == 3


async def test_an_id_to_begin_with_may_be_kept(runner: Runner, client: Client) -> None:
    """A command that begins with the id it was given, and says nothing, is told to resume it."""
    _, (first,), _ = await runner.run({})
    _, (second,), _ = await runner.run({})
    assert first["PROVIDER_SESSION_ID"] is not None
    assert second["RESUME_ID"] == first["PROVIDER_SESSION_ID"]


async def test_a_failed_resume_runs_the_command_again(runner: Runner, client: Client) -> None:
    """Locked: the same id once more; gone: to begin with another, at once. The exit code is the last run's."""
    a, b = given("A"), given("B")
    await runner.run({"result": a})
    failed = [{"result": json.dumps({"resume_failed": reason}), "code": 1} for reason in ("locked", "not_found")]
    code, told, err = await runner.run(*failed, {"result": b})
    assert code == 0
    assert "the provider did not resume: locked; trying again in 1." in err
    assert [one["RESUME_ID"] for one in told] == [a, a, None]
    assert told[2]["PROVIDER_SESSION_ID"] not in (None, a, b)
    first, second = await rows(client, runner.session)
    assert (first.is_resumable, second.resumed_from, second.provider_session_id) == (False, None, b)
    assert (await client.sessions.get(runner.session)).status == "completed"


async def test_a_failed_begin_is_not_run_again(runner: Runner, client: Client) -> None:
    """Nothing was to be resumed: the command failed, whatever its exit code says."""
    code, told, err = await runner.run({"result": '{"resume_failed": "other"}'})
    assert (code, len(told)) == (1, 1)
    assert "the provider did not resume: other" in err
    assert (await client.sessions.get(runner.session)).status == "failed"
    assert await newest_id(client, runner.session) is None


async def test_a_command_that_fails_without_an_id_leaves_the_head(runner: Runner, client: Client) -> None:
    """Its id is not offered; the one before still is."""
    a = given("A")
    await runner.run({"result": a})
    code, _, _ = await runner.run({"code": 7})
    assert code == 7
    assert await newest_id(client, runner.session) == a
    assert (await rows(client, runner.session))[-1].is_resumable is False


async def test_a_result_that_is_none_is_told(runner: Runner, client: Client) -> None:
    """The exit code stays the command's; nothing is made of it."""
    code, _, err = await runner.run({"result": "{nonsense"})
    assert code == 0
    assert "SESSIONCAST_RESULT_FILE is not understood" in err
    assert len(await rows(client, runner.session)) == 1


async def test_an_id_of_another_session_is_told(runner: Runner, client: Client, tmp_path: Path) -> None:
    """The server refuses it; that is said, the run is over all the same, and no id of another's is taken over."""
    a = given("A")
    await runner.run({"result": a})
    other = Runner(tmp_path, runner.url)
    code, _, err = await other.run({"result": a})
    assert code == 0
    assert "what the provider told is not recorded: Session security violation" in err
    (row,) = await rows(client, other.session)
    assert (row.state, row.provider_session_id == a, row.is_resumable) == (ProviderState.ENDED, False, False)
    assert await newest_id(client, other.session) is None


async def test_a_second_one_waits_for_the_first(runner: Runner, client: Client, tmp_path: Path) -> None:
    """Two at once in one session: the second runs when the first has ended, and resumes what it gave out."""
    a, b = given("A"), given("B")
    gate = tmp_path / "gate"
    await client.projects.put(runner.project)
    await client.tasks.create(runner.project, "T")  # titles are not unique: two that find none make one each
    async with (
        runner.command({"result": a, "wait": str(gate)}) as first,
        runner.command({"result": b}) as second,
    ):
        await first.wrote("RESULT_FILE")
        gate.touch()
        assert await first.ended() == 0
        assert await second.ended() == 0
    told = [json.loads(command.out) for command in (first, second)]
    assert {told[0]["RESUME_ID"], told[1]["RESUME_ID"]} in ({None, a}, {None, b})
    assert told[0]["SESSION_ID"] == told[1]["SESSION_ID"]
    found = await rows(client, told[0]["SESSION_ID"])
    assert [row.resumed_from for row in found] == [None, found[0].provider_session_id]


async def test_a_signal_stops_it_and_keeps_the_id(runner: Runner, client: Client, tmp_path: Path) -> None:
    """The command gets the signal; what it wrote before is recorded, and it is not run again."""
    a = given("A")
    async with runner.command({"result": a, "wait": str(tmp_path / "never")}) as command:
        await command.wrote("RESULT_FILE")
        session = json.loads(command.out)["SESSION_ID"]
        while not (tmp_path / "never.ready").exists():
            await command.told("session")
        command.send(signal.SIGTERM)
        assert await command.ended() == 128 + signal.SIGTERM
    assert (await client.sessions.get(session)).status == "cancelled"
    assert await newest_id(client, session) == a
    assert len(command.out.splitlines()) == 1


async def test_a_signal_between_two_runs_ends_the_waiting(runner: Runner, client: Client) -> None:
    """While it waits for a locked id it can be stopped; the id that was to be resumed stays the head."""
    a = given("A")
    await runner.run({"result": a})
    locked = {"result": '{"resume_failed": "locked"}', "code": 1}
    async with client.subscribe(runner.project, session=runner.session, kinds=["provider"]) as stream:
        await anext(stream)
        async with runner.command(*[locked] * 5) as command:
            async for item in stream:
                if getattr(item, "type", "") == "provider_session.resume_failed":
                    break
            command.send(signal.SIGTERM)
            assert await command.ended() == 128 + signal.SIGTERM
    assert len(command.out.splitlines()) < 4
    assert (await client.sessions.get(runner.session)).status == "cancelled"
    assert await newest_id(client, runner.session) == a


async def test_a_signal_ends_the_wait_for_others(runner: Runner, client: Client) -> None:
    """Nothing is run, and the session stays as it is."""
    await runner.run({"result": given("A")})
    async with client.resumable(runner.session), runner.command({}) as command:
        await command.told("waiting for the server")
        command.send(signal.SIGINT)
        assert await command.ended() == 130
    assert command.out == ""
    assert (await client.sessions.get(runner.session)).status == "pending"


async def test_a_killed_one_is_gone_on_with(runner: Runner, client: Client) -> None:
    """kill -9 of the one that held the turn: when its lease has run out the next one resumes, in the same session."""
    a = given("A")
    await runner.run({"result": a})
    # As a killed one leaves it: its provider session is open, and nobody renews it.
    decision = await client.providers.resume(runner.session)
    await client.providers.open(runner.session, "exec", resumed_from=a, fence=decision.fence, lease_s=1)
    await client.sessions.patch(runner.session, fence=decision.fence, status="running")
    code, (told,), _ = await runner.run({"result": given("B")})
    assert (code, told["RESUME_ID"]) == (0, a)
    assert [row.state for row in await rows(client, runner.session)] == [
        ProviderState.ENDED,
        ProviderState.ABANDONED,
        ProviderState.ENDED,
    ]


async def test_variables_of_an_outer_one_do_not_shine_through(runner: Runner, tmp_path: Path) -> None:
    """An `exec` inside an `exec` has its own; a command with a «=» in its name is run, too."""
    odd = tmp_path / "a=b"
    odd.write_text("#!/bin/sh\nenv | grep -E '^SESSIONCAST_(RESUME|PROVIDER)' | cut -d= -f1\n")
    odd.chmod(0o755)
    inner = (sys.executable, "-m", "sessioncast", "exec", "--resume", "--project", given("p"), "--task", "T", "--")
    for _ in range(2):
        wish = ("exec", "--resume", "--project", runner.project, "--task", "T", "--", *inner, str(odd))
        inner = (sys.executable, "-m", "sessioncast", "exec", "--resume", "--project", given("p"), "--task", "T", "--")
        async with Command(tmp_path, runner.url, *wish) as command:
            assert await command.ended() == 0, command.err
        assert command.out == "SESSIONCAST_PROVIDER_SESSION_ID\n"


async def test_a_server_that_goes_away_does_not_stop_it(node_factory: NodeFactory, tmp_path: Path) -> None:
    """The command runs to its end and keeps its exit code; what is not recorded is said."""
    node, gate = await node_factory(), tmp_path / "gate"
    away = Runner(tmp_path, node.url)
    step = {"result": given("A"), "wait": str(gate), "code": 7}
    async with away.command(step, options=("--give-up-after", "0.5")) as command:
        await command.wrote("RESULT_FILE")
        node.kill()
        gate.touch()
        command.send(signal.SIGCONT)
        assert await command.ended() == 7
    assert "what the provider told is not recorded" in command.err
    assert "the end of the turn is not recorded" in command.err
    assert "Traceback" not in command.err


async def test_resuming_and_replacing_exclude_each_other(tmp_path: Path) -> None:
    """Said before anything is asked of a server."""
    wish = ("exec", "--resume", "--replace", "--task", "T", "--", "true")
    async with Command(tmp_path, "http://127.0.0.1:1", *wish) as command:
        assert await command.ended() == 2
    assert "not both" in command.err


@pytest.mark.parametrize("result", ["id\nand more", '{"a":' * 100_000, "\x00", '{"provider_session_id": "\\ud800"}'])
async def test_a_result_that_is_not_understood_leaves_the_head(runner: Runner, client: Client, result: str) -> None:
    """It may have named an id: the one that was made for it is not offered, what was resumable before still is."""
    code, _, err = await runner.run({"result": result})
    assert code == 0
    assert "Traceback" not in err
    assert (await client.sessions.get(runner.session)).status == "completed"
    assert await newest_id(client, runner.session) is None
    a = given("A")
    await runner.run({"result": a})
    await runner.run({"result": result})
    assert await newest_id(client, runner.session) == a


async def test_an_id_of_another_session_leaves_the_head(runner: Runner, client: Client) -> None:
    """The server refuses it: the next one is told neither it nor the one that was made."""
    a = given("A")
    await runner.run({"result": a})
    code, _, err = await runner.run({"result": a}, options=("--phase", "verify"))
    assert code == 0
    assert "what the provider told is not recorded" in err
    assert await newest_id(client, runner.session) is None
    _, (told,), _ = await runner.run({}, options=("--phase", "verify"))
    assert told["RESUME_ID"] is None


@pytest.mark.parametrize("usage", ['{"tokens": -4}', '{"tokens": "many"}', '{"cost_usd": NaN}'])
async def test_an_id_beside_wrong_totals_is_kept(runner: Runner, client: Client, usage: str) -> None:
    """What is wrong with the totals is said; the id is the next one's to resume."""
    a = given("A")
    code, _, err = await runner.run({"result": f'{{"provider_session_id": "{a}", "usage": {usage}}}'})
    assert code == 0
    assert "not recorded" in err or "not understood" in err
    _, (told,), _ = await runner.run({})
    assert told["RESUME_ID"] == a


async def test_a_place_that_is_given_up_by_a_signal_is_nobodys(runner: Runner, client: Client) -> None:
    """Stopped while it waited: it leaves at once, and there is nobody between the holder and who comes next."""
    await runner.run({"result": given("A")})
    async with client.resumable(runner.session):
        async with runner.command({}) as command:
            await command.told("waiting for the server")
            command.send(signal.SIGTERM)
            assert await command.ended() == 128 + signal.SIGTERM
        with pytest.raises(SessionBeingModified) as caught:
            await client.providers.resume(runner.session, wait_s=0)
        assert caught.value.ahead == 1
    async with client.resumable(runner.session, wait_s=0):
        pass


async def test_another_models_session_is_not_resumed(runner: Runner, client: Client) -> None:
    """A model that is asked for has to be the session's, ended or not; one that is not asked for may be any."""
    a = given("A")
    await runner.run({"result": a}, options=("--model", "one"))
    session = runner.session
    _, (told,), _ = await runner.run({}, options=("--model", "one"))
    assert (told["RESUME_ID"], runner.session) == (a, session)
    async with runner.command({}, options=("--model", "two")) as command:
        assert await command.ended() == 125
    assert command.out == ""
    assert f"session {session} is left as it is: its model is one" in command.err
    _, (told,), _ = await runner.run({})
    assert (told["RESUME_ID"], runner.session) == (a, session)
    assert (await client.sessions.get(session)).model["name"] == "one"


@pytest.mark.parametrize("answer", ["y\n", "n\n"])
async def test_a_person_may_begin_afresh_with_another_model(
    runner: Runner, client: Client, tmp_path: Path, answer: str
) -> None:
    """At the terminal it is asked, also where the session has ended; after a yes there is nothing to resume."""
    a = given("A")
    await runner.run({"result": a}, options=("--model", "one"))
    options = ("--resume", "--project", runner.project, "--model", "two")
    show = 'echo "to resume: ${SESSIONCAST_RESUME_ID:-nothing}"'
    async with Terminal.exec(tmp_path, runner.url, "sh", "-c", show, options=options) as terminal:
        await terminal.shows(texts.CONFIRM)
        terminal.type(answer)
        code = await terminal.ended()
    old = await client.sessions.get(runner.session)
    if answer == "y\n":
        assert (code, old.replaced_by is None) == (0, False)
        assert "to resume: nothing" in terminal.screen
    else:
        assert (code, old.replaced_by) == (125, None)
        assert await newest_id(client, runner.session) == a
