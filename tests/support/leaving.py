"""A folder's shared fixtures end when the run leaves the folder, not with the whole run.

They are of scope «session»: the folders are no packages, and a module is too little to share a node over. Left alone,
nodes that nobody asks any more would look for leases and turns, and hold connections, until all other tests are done.
One that the run comes back to is made anew.
"""

from typing import Any

import pytest


class Leaving:
    """A plugin. Fixtures of the whole suite stay."""

    def __init__(self) -> None:
        self._made: list[tuple[pytest.FixtureDef[Any], Any]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
        """Remember what a folder's `conftest.py` makes."""
        if fixturedef.scope == "session" and "/" in fixturedef.baseid:  # `tests/FOLDER`, not `tests`
            self._made.append((fixturedef, request))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Any:
        """End what is shared in this folder when the next test is of another one, newest first."""
        try:
            return (yield)
        finally:
            if nextitem is None or nextitem.path.parent != item.path.parent:
                while self._made:
                    fixturedef, request = self._made.pop()
                    fixturedef.finish(request)  # nothing where it has ended already
