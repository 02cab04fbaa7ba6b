"""A node with thousands of open streams says goodbye to each of them, and ends by itself."""

import os
import signal
from pathlib import Path

from crowd.link import ask, request
from crowd.reactor import Reactor
from crowd.side import SSE, WEBSOCKET
from endurance.audience import Audience, Stream, fill
from endurance.process import Server, serving
from support.waiting import DEADLINE_S

_STREAMS = 2_000
_SETTINGS = {"SESSIONCAST_LOG_LEVEL": "warning"}


def project(server: Server) -> Reactor:
    """Make the project that everybody follows."""
    reactor = Reactor()
    ask(reactor, server.port, request("PUT", "/v1/projects/p", b"{}"))
    return reactor


def test_thousands_are_told_goodbye(tmp_path: Path) -> None:
    """SIGTERM: every event stream ends with a goodbye and its last chunk, every WebSocket by a close with 1001."""
    with serving(tmp_path, environment=_SETTINGS) as server:
        reactor = project(server)
        audience = Audience(
            reactor, server.port, [Stream((SSE, WEBSOCKET)[number % 2], "p") for number in range(_STREAMS)]
        )
        try:
            audience.connect()
            os.kill(server.pid, signal.SIGTERM)
            audience.listen(server.pid, DEADLINE_S)
            assert server.process.wait(DEADLINE_S) == 0
        finally:
            audience.close()
            reactor.close()
        untold = [stream for stream in audience.streams if not stream.told]
        assert not untold, (len(untold), untold[0])
        assert "Traceback" not in server.said()


def test_a_second_interrupt_does_not_wait_for_goodbyes(tmp_path: Path) -> None:
    """Who reads nothing is waited for an hour, but not after another SIGINT."""
    patient = dict.fromkeys(
        ("SESSIONCAST_DRAIN_S", "SESSIONCAST_SEND_DEADLINE_S", "SESSIONCAST_TCP_USER_TIMEOUT_S"), "3600"
    )
    with serving(tmp_path, environment={**_SETTINGS, **patient}) as server:
        reactor = project(server)
        hearing = Stream(SSE, "p")
        audience = Audience(reactor, server.port, [Stream(SSE, "p", deaf=True), hearing])
        try:
            audience.connect()
            fill(reactor, server.port, "p")
            os.kill(server.pid, signal.SIGINT)
            assert reactor.run(lambda: hearing.told, DEADLINE_S)
            os.kill(server.pid, signal.SIGINT)
            audience.listen(server.pid, DEADLINE_S)
            assert server.process.wait(DEADLINE_S) == 0
        finally:
            audience.close()
            reactor.close()
