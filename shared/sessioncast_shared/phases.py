"""Phases of a task and the titles they go by."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator


class Phase(StrEnum):
    """A phase of a task; each holds at most one live session."""

    PLAN = "plan"
    RUN = "run"
    VERIFY = "verify"


_TITLES: dict[str, Phase] = {
    **dict.fromkeys(("plan", "planning", "design"), Phase.PLAN),
    **dict.fromkeys(("run", "implement", "implementation", "execute"), Phase.RUN),
    **dict.fromkeys(("verify", "verification", "review", "test"), Phase.VERIFY),
}


def parse_phase(title: str) -> Phase:
    """The phase a title names, whatever its case and surrounding space.

    Raises:
        ValueError: no phase goes by that title.
    """
    phase = _TITLES.get(title.strip().lower())
    if phase is None:
        raise ValueError(f"no phase is called {title[:40]!r}; one of {', '.join(_TITLES)}")
    return phase


def _from_title(value: Any) -> Any:
    return parse_phase(value) if isinstance(value, str) else value


PhaseTitle = Annotated[Phase, BeforeValidator(_from_title, json_schema_input_type=str)]
"""A `Phase` field that accepts any of the titles."""
