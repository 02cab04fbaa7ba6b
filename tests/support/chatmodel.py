"""What a thread must hold, told by its events alone."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from support.chat import Talk


@dataclass
class Mirror:
    """A thread that `chatresponders.teller` answers in, rebuilt event by event.

    Attributes:
        messages: what it holds, by `seq`.
        seqs: of all that were ever appended.
    """

    user: str
    talk: Talk
    messages: dict[int, dict[str, Any]] = field(default_factory=dict)
    seqs: list[int] = field(default_factory=list)
    _context: list[str] = field(default_factory=list)
    _last: dict[str, Any] = field(default_factory=dict)

    def take(self, events: Iterable[dict[str, Any]]) -> "Mirror":
        """Follow the events.

        Raises:
            AssertionError: one is another thread's or another user's, or an answer does not stand right after its line,
                or was not given from what the thread held before that.
        """
        for event in events:
            assert event["thread_id"] == self.talk.id
            data = event["data"]
            assert data["user"] == data.get("thread", data)["user"] == self.user
            match event["type"]:
                case "message.created":
                    self._append(data)
                case "message.popped":
                    assert max(self.messages) == data["seq"]
                    del self.messages[data["seq"]]
                case "thread.pruned":
                    for first, last in data["removed"]:
                        for seq in range(first, last + 1):
                            self.messages.pop(seq, None)
            self._last = event
        return self

    def _append(self, message: dict[str, Any]) -> None:
        if message["role"] == "assistant":
            line = self._last["data"]
            assert (self._last["type"], line["role"], line["seq"]) == ("message.created", "user", message["seq"] - 1)
            assert message["content"] == told(self.user, self.talk.id, line["content"], self._context)
        else:
            self._context = [one["content"].partition(" <- ")[0] for one in self.messages.values()]
        self.messages[message["seq"]] = {name: value for name, value in message.items() if name != "thread"}
        self.seqs.append(message["seq"])

    def is_whole(self) -> None:
        """It is what the thread holds, and no `seq` was left out."""
        assert list(self.messages.values()) == self.talk.whole()
        assert self.seqs == list(range(1, len(self.seqs) + 1))


def told(user: str, thread: str, line: str, said: Iterable[str]) -> str:
    """What `chatresponders.teller` answers."""
    return f"{user}/{thread}: {line} <- {'|'.join(said)}"
