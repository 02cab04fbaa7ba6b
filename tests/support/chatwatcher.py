"""A reader of threads' events, live."""

import threading
from collections.abc import Callable
from typing import Any, Self

import httpx2
import orjson

from support.api import Api
from support.waiting import wait_until


class Watcher:
    """A stream of threads, which has its snapshot when `with` has returned, and is read in a thread of its own.

    Attributes:
        events: what came after the snapshot, in order.
        resources: what the snapshot held.
        since: the position of the snapshot.
        told: other frames, by name.
    """

    def __init__(self, api: Api, project: str, *threads: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []
        self.told: list[str] = []
        self.since = ""
        self._api = api
        self._url = f"{api.url}/v1/projects/{project}/events"
        self._params = {"thread": list(threads)} if threads else {}
        self._ended = False
        self._error: BaseException | None = None

    def types(self) -> list[str]:
        """The types of the events that are kept."""
        return [event["type"] for event in tuple(self.events) if "position" in event]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return as soon as the condition holds."""

        def holds() -> bool:
            if self._error is not None:
                raise self._error
            return condition()

        try:
            wait_until(holds, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.told}, and last {self.events[-1:]}") from error

    def sees(self, *types: str, count: int = 1) -> list[dict[str, Any]]:
        """The events of these types, once there are so many."""

        def found() -> list[dict[str, Any]]:
            return [event for event in tuple(self.events) if event["type"] in types]

        self.until(lambda: len(found()) >= count, f"{count} of {types}")
        return found()

    def __enter__(self) -> Self:
        self._client = httpx2.Client(timeout=60)
        headers = {"Authorization": self._api.token, "Accept": "text/event-stream"}
        self._stream = self._client.stream("GET", self._url, params=self._params, headers=headers)
        self._answer = self._stream.__enter__()
        assert self._answer.status_code == 200, self._answer.read()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.until(lambda: bool(self.since), "the snapshot")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._answer.close()
        self._client.close()

    def _read(self) -> None:
        name, data = "", ""
        try:
            for line in self._answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif not line and data:
                    self._take(name, orjson.loads(data))
                    name, data = "", ""
        except BaseException as error:  # noqa: BLE001  whoever waits is told
            if not self._ended:
                self._error = error

    def _take(self, name: str, data: dict[str, Any]) -> None:
        if name == "snapshot":
            self.resources += data.get("resources", [])
            self.since = data.get("position", "")
        elif name:
            self.told.append(name)
        else:
            self.events.append(data)
