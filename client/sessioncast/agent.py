"""An agent's own idea of its session, set for a while."""

from typing import Any

_ABSENT = object()


class AgentSession:
    """`session_id` of an agent, any object, while a provider session is open; afterwards it is what it was before."""

    def __init__(self, agent: Any) -> None:
        """None: there is no agent to tell."""
        self._agent = agent
        self._before = getattr(agent, "session_id", _ABSENT)

    def set(self, provider_session_id: str) -> None:
        """The id it uses from now on."""
        if self._agent is not None:
            self._agent.session_id = provider_session_id

    def restore(self) -> None:
        """Back to what it was; an attribute that was not there goes."""
        if self._agent is None:
            return
        if self._before is not _ABSENT:
            self._agent.session_id = self._before
        elif hasattr(self._agent, "session_id"):
            del self._agent.session_id
