"""A server that was there before the tests, named by the environment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Given:
    """Tests may use it, but not stop, kill or freeze it.

    Attributes:
        url: its address.
    """

    url: str
