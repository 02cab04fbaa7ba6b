"""Streams over real sockets end up in the ledger, the bad ones as what they are."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from websockets.sync.server import ServerConnection, serve

from swarm.ledger import Ledger
from swarm.streams import SseFrames, SseStream, Stream, WebSocketStream

AT = "2026-11-21T10:00:00.000000Z"


def event(offset: int) -> dict[str, str]:
    return {"position": f"e:{offset}", "type": "session.updated", "at": AT}


@contextmanager
def sse_server(offsets: Sequence[int]) -> Iterator[str]:
    """The URL of a server that sends a state at 10, then these events, then ends the stream."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'event: ready\ndata: {"state":"snapshot"}\n\nevent: snapshot\ndata: {"more":true}\n\n')
            self.wfile.write(b"event: snapshot\nid: e:10\ndata: {}\n\n: comment\n\n")
            for offset in offsets:
                self.wfile.write(f"id: e:{offset}\ndata: {json.dumps(event(offset))}\n\n".encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def ws_server(offsets: Sequence[int]) -> Iterator[str]:
    """The same by WebSocket."""

    def handle(connection: ServerConnection) -> None:
        assert json.loads(connection.recv(timeout=10)) == {"op": "subscribe", "project": "p"}
        for frame in (
            {"op": "subscribed", "state": "snapshot"},
            {"op": "snapshot", "resources": [], "more": True},
            {"op": "snapshot", "resources": [], "position": "e:10", "more": False},
            {"op": "events", "events": [event(offset) for offset in offsets]},
        ):
            connection.send(json.dumps(frame))

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("server", "stream"), [(sse_server, SseStream), (ws_server, WebSocketStream)])
@pytest.mark.parametrize(
    ("offsets", "events", "lost"), [((11, 12, 13), 3, 0), ((11, 13), 2, 1), ((14,), 1, 3), ((11, 12), 2, 1)]
)
def test_what_a_server_leaves_out_is_lost(
    server: type, stream: type, offsets: tuple[int, ...], events: int, lost: int
) -> None:
    """A server that skips events, or ends before the last one, is caught on both kinds of stream."""
    ledger = Ledger(lambda _: None)
    with server(offsets) as url:
        opened: Stream = stream(url, "p", {"X-User": "u"}, ledger)
        opened.run()
        opened.close()
    ledger.close(max(13, *offsets))
    assert (ledger.events, ledger.lost) == (events, lost)
    ended = [fault for fault in ledger.faults if fault.startswith(("ended", "cut"))]
    assert len(ended) == 1, "the server ended the stream, not we"


def test_frames_are_found_however_bytes_arrive() -> None:
    """The same frames come out when the bytes come one by one."""
    data = b"event: heartbeat\nid: e:1\ndata: {}\n\n: comment\n\nid: e:2\ndata: {}\n\nid: e:3"
    frames = SseFrames()
    found = [frame for byte in data for frame in frames.feed(bytes([byte]))]
    assert found == [{"event": b"heartbeat", "id": b"e:1", "data": b"{}"}, {"id": b"e:2", "data": b"{}"}]
