"""Whether this node is alive, and whether it should be sent requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Check = Callable[[], Awaitable[str | None]]
"""Says why something is not well, or None."""


class Health:
    """Readiness from checks.

    What is `vital` makes the node not ready; what is `helpful` degrades it: requests are still answered rightly.
    A check that raises, or takes longer than `deadline_s`, is not well either.
    """

    def __init__(
        self, *, vital: Mapping[str, Check], helpful: Mapping[str, Check] | None = None, deadline_s: float = 2
    ) -> None:
        self._vital = dict(vital)
        self._helpful = dict(helpful or {})
        self._deadline_s = deadline_s
        self._draining = False

    def drain(self) -> None:
        """Be not ready from now on: the node is about to stop."""
        self._draining = True

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """HTTP status and document: `{"status": "ok" | "degraded" | "unready", "reasons": […]}`."""
        names = [*self._vital, *self._helpful]
        checks = [*self._vital.values(), *self._helpful.values()]
        answers = await asyncio.gather(*map(self._ask, checks))
        reasons = [f"{name}: {answer}" for name, answer in zip(names, answers, strict=True) if answer is not None]
        if self._draining:
            reasons.insert(0, "draining")
        if self._draining or any(answer is not None for answer in answers[: len(self._vital)]):
            return 503, {"status": "unready", "reasons": reasons}
        return 200, {"status": "degraded" if reasons else "ok", "reasons": reasons}

    async def _ask(self, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await check()
        except TimeoutError:
            return f"no answer within {self._deadline_s:g} s"
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, it is not well
            return type(error).__name__
