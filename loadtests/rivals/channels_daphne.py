"""Fan-out by Django Channels on daphne, with its layer in memory, by WebSocket alone."""

import argparse
import sys

import django
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from daphne.cli import CommandLineInterface
from django.conf import settings
from django.urls import path

settings.configure(
    SECRET_KEY="load",
    ALLOWED_HOSTS=["*"],
    # The layer drops what is over the capacity, 100 by default: the load test would only see losses.
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1_000_000}}},
)
django.setup()


class Subscriber(AsyncWebsocketConsumer):
    """A WebSocket that only hears."""

    groups = ("load",)

    async def connect(self) -> None:
        """Accept, and say so once the group has this one."""
        await self.accept()
        await self.send(text_data='{"op":"ready"}')

    async def said(self, event: dict[str, str]) -> None:
        """Hand a message on."""
        await self.send(text_data=event["text"])


class Publish(AsyncHttpConsumer):
    """Hands the body to everybody."""

    async def handle(self, body: bytes) -> None:
        """Answer when all have it in their queues."""
        await self.channel_layer.group_send("load", {"type": "said", "text": body.decode()})
        await self.send_response(200, b"{}", headers=[(b"Content-Length", b"2")])


app = ProtocolTypeRouter(
    {
        "http": URLRouter([path("publish", Publish.as_asgi())]),
        "websocket": URLRouter([path("ws", Subscriber.as_asgi())]),
    }
)


def main() -> None:
    """Serve on loopback."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    sys.modules["channels_daphne"] = sys.modules["__main__"]  # daphne imports the application by name
    CommandLineInterface().run(
        ["-b", "127.0.0.1", "-p", str(port), "-v", "0", "--ping-interval", "3600", "channels_daphne:app"]
    )


if __name__ == "__main__":
    main()
