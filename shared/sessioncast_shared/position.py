"""A place in a channel's log."""

import re
from dataclasses import dataclass

_FORM = re.compile(r"([0-9a-z]{1,32}):(0|[1-9][0-9]{0,17})")


class BadPositionError(ValueError):
    """The text is not of the form of a position.

    Attributes:
        text: what was given.
    """

    def __init__(self, text: str) -> None:
        super().__init__(f"not a position: {text[:60]!r}")
        self.text = text


@dataclass(frozen=True, slots=True)
class Position:
    """`epoch:offset`: the state after the event with that offset. Clients treat its text as opaque.

    Attributes:
        epoch: names one life of the channel's log; 1 to 32 of `0-9a-z`.
        offset: 0 before the first event, then +1 per event; below 10**18.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """The position a text stands for.

        Raises:
            BadPositionError: the text is not of the form (a well-formed position can still be unusable).
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise BadPositionError(text)
        return cls(match[1], int(match[2]))
