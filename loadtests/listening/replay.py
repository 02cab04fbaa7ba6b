"""A server, in a process of its own, that says one recorded stream to whoever asks, as fast as it is read.

By server-sent events on its first port, by WebSocket on its second: the same events in each chunk as in each frame.
"""

import argparse
import asyncio
import json
import pickle
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache, no-transform\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_KEY = "k"


def framed(pieces: list[bytes]) -> list[bytes]:
    """Each as a chunk of HTTP/1.1."""
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


def messages(pieces: list[bytes]) -> list[str]:
    """The same as frames for a WebSocket: what the greeting holds, then as many events in each as in a chunk."""
    opening, *rest = [_bodies(piece) for piece in pieces]
    ready, snapshot = opening
    said = [{"op": "subscribed", "ref": "1", "key": _KEY, **ready}, {"op": "snapshot", "key": _KEY, **snapshot}]
    said += [{"op": "events", "key": _KEY, "events": events} for events in rest]
    return [json.dumps(one, separators=(",", ":")) for one in said]


def _bodies(piece: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame.partition(b"data: ")[2]) for frame in piece.split(b"\n\n") if frame]


async def play(chunks: list[bytes], said: list[str]) -> None:
    """Until the process is ended; prints its ports."""

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_HEAD)
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            await reader.read()  # it is open until the reader has enough
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def upgraded(connection: ServerConnection) -> None:
        await connection.recv()
        for message in said:
            await connection.send(message)
        await connection.wait_closed()

    server = await asyncio.start_server(joined, "127.0.0.1", 0)
    async with serve(upgraded, "127.0.0.1", 0, compression=None, ping_interval=None) as sockets:
        (socket,) = sockets.sockets
        print(server.sockets[0].getsockname()[1], socket.getsockname()[1], flush=True)
        await server.serve_forever()


def main() -> None:
    """Of a file that our own run wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    pieces: list[bytes] = pickle.loads(parser.parse_args().file.read_bytes())
    asyncio.run(play(framed(pieces), messages(pieces)))


if __name__ == "__main__":
    main()
