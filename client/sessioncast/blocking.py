"""A view of async objects for code that is not async."""

import inspect
from collections.abc import AsyncGenerator, Iterator
from functools import partial, wraps
from types import MappingProxyType, TracebackType
from typing import Any, Self

from sessioncast.errors import SessioncastError
from sessioncast.onloop import Held, OnLoop

_END = object()


class Blocking:
    """An object whose async methods block, whose async context managers are for `with` and whose iterators for `for`.

    Nothing is said twice: whatever is asked for is looked up on the object itself, which lives on an event loop. In the
    loop's own thread it is the object as it is.
    """

    def __init__(self, target: Any, on: OnLoop) -> None:
        self._target = target
        self._on = on
        self._held: Held | None = None

    @classmethod
    def of(cls, value: Any, on: OnLoop) -> Any:
        """A view of what has something async to it; plain values as they are."""
        return cls(value, on) if _is_async(type(value)) else value

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if self._on.here:
            return found
        if isinstance(found, MappingProxyType):  # the loop changes what is behind it, in the middle of a `for` of ours
            return MappingProxyType(found.copy())
        return self._blocking(found) if inspect.ismethod(found) else Blocking.of(found, self._on)

    def __dir__(self) -> list[str]:
        return dir(self._target)

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"

    def __enter__(self) -> Any:
        self._held = Held(self._on, self._target)
        return self._view(self._held.enter)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._held is None:
            raise RuntimeError("it was not entered")
        return bool(self._view(partial(self._held.leave, error)))

    def __iter__(self) -> Iterator[Any]:
        iterator: Self = self._view(partial(self._on.do, partial(aiter, self._target)))
        return iterator

    def __next__(self) -> Any:
        found = self._view(partial(self._on.do, self._step))
        if found is _END:
            raise StopIteration
        return found

    async def _step(self) -> Any:
        return await anext(self._target, _END)

    def _blocking(self, method: Any) -> Any:
        @wraps(method)
        def blocking(*args: Any, **named: Any) -> Any:
            return self._view(partial(self._on.do, partial(method, *args, **named)))

        return blocking

    def _view(self, give: Any) -> Any:
        try:
            return Blocking.of(give(), self._on)
        except SessioncastError as error:
            # Refusals can be answered where they are caught, `error.confirm()` for one.
            for name, _ in inspect.getmembers(type(error), inspect.iscoroutinefunction):
                if name not in vars(error):  # once: it may pass through several calls on its way
                    setattr(error, name, self._blocking(getattr(error, name)))
            raise


def _is_async(kind: type) -> bool:
    if issubclass(kind, AsyncGenerator):
        return True
    if not kind.__module__.startswith("sessioncast.") or issubclass(kind, BaseException):
        return False
    return any(
        inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
        for name in dir(kind)
        if callable(method := getattr(kind, name, None))
    )
