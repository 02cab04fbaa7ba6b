"""A server, in a process of its own, that says one recorded stream to whoever asks, as fast as it is read."""

import argparse
import asyncio
import pickle
from pathlib import Path

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache, no-transform\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def framed(pieces: list[bytes]) -> list[bytes]:
    """Each as a chunk of HTTP/1.1."""
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


async def serve(chunks: list[bytes]) -> None:
    """Until the process is ended; prints its port."""

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

    server = await asyncio.start_server(joined, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Of a file that our own run wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    asyncio.run(serve(framed(pickle.loads(parser.parse_args().file.read_bytes()))))


if __name__ == "__main__":
    main()
