"""An iteration: one run of an agent, with an id that nobody else has."""

from types import TracebackType
from typing import Any

from sessioncast.limits import Limits
from sessioncast.providers import Providers
from sessioncast.use import Use, begin
from sessioncast_shared.resources import Session


class Iteration:
    """`async with client.iteration(session) as it:` opens a provider session, and closes it however it is left."""

    def __init__(
        self, providers: Providers, limits: Limits, session: Session | str, *, fence: int | None, **wishes: Any
    ) -> None:
        self._providers = providers
        self._limits = limits
        self._session = session
        self._fence = fence
        self._wishes = wishes
        self._use: Use | None = None

    async def __aenter__(self) -> Use:
        if self._use is not None:
            raise RuntimeError("an iteration is entered once")
        self._use = await begin(self._providers, self._limits, self._session, fence=self._fence, **self._wishes)
        return self._use

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        use = self._use
        if use is not None:
            await use.close(error, spoiled=lambda: error is not None or use.confirmed is False)
