"""The flags through the real OpenFeature SDK."""

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from sessioncast_server.flags.provider import FlagsProvider
from sessioncast_server.flags.rules import Flag, bucket_of
from sessioncast_server.flags.service import put_flag
from sessioncast_server.flags.view import FlagView
from support.store import Store, opened

FLAG = Flag.SINGLE_SESSION.value
HALF = bucket_of(Flag.SINGLE_SESSION, "demo") / 100 + 0.01
"""Percentage at which `demo` has just got it."""


class Shown:
    """A client of the SDK, and what it is about."""

    def __init__(self, store: Store, view: FlagView, client: OpenFeatureClient) -> None:
        self._store = store
        self._view = view
        self.client = client

    async def put(self, percentage: float) -> None:
        """Change the flag."""
        await self._store.database.write(put_flag, Flag.SINGLE_SESSION, percentage, "ann")
        await self._view.refresh()

    def ask(self, context: EvaluationContext | None = None, *, default: bool = False) -> tuple[object, ...]:
        """Value, variant, reason and error of the flag."""
        found = self.client.get_boolean_details(FLAG, default, context)
        return found.value, found.variant, found.reason, found.error_code


@pytest.fixture
async def shown(sqlite_url: str) -> AsyncIterator[Shown]:
    """The provider, registered as a program does it."""
    async with opened(sqlite_url, project=False) as store:
        view = FlagView(store.database, 3600)
        api.set_provider_and_wait(FlagsProvider(view), "flags")
        yield Shown(store, view, api.get_client("flags"))
        api.clear_providers()


async def test_a_flag_as_shipped_is_the_default(shown: Shown) -> None:
    """On, whatever the caller's own default is, because nobody changed it."""
    assert shown.ask() == (True, "on", Reason.DEFAULT, None)
    assert shown.client.provider.get_metadata().name == "sessioncast"


async def test_what_is_the_same_for_all_is_static(shown: Shown) -> None:
    """Off and on need no project, with and without a context."""
    for percentage, value in ((0.0, False), (100.0, True)):
        await shown.put(percentage)
        for context in (None, EvaluationContext("demo")):
            expected = (value, "on" if value else "off", Reason.STATIC, None)
            assert shown.ask(context, default=not value) == expected


@pytest.mark.parametrize(
    "context",
    [
        EvaluationContext("demo"),
        EvaluationContext(attributes={"project": "demo"}),
        EvaluationContext("somebody", {"project": "demo"}),
        EvaluationContext("demo", {"project": 7}),
    ],
    ids=["key", "attribute", "attribute before key", "no project but a key"],
)
async def test_a_share_is_split_by_project(shown: Shown, context: EvaluationContext) -> None:
    """The same projects as everywhere: by the targeting key, or the attribute `project`, which wins."""
    await shown.put(HALF)
    assert shown.ask(context) == (True, "on", Reason.SPLIT, None)
    await shown.put(HALF - 0.01)
    assert shown.ask(context, default=True) == (False, "off", Reason.SPLIT, None)
    details = await shown.client.get_boolean_details_async(FLAG, True, context)
    assert (details.value, details.reason) == (False, Reason.SPLIT)


@pytest.mark.parametrize("context", [None, EvaluationContext(), EvaluationContext("")])
@pytest.mark.parametrize("default", [True, False])
async def test_a_share_needs_a_project(shown: Shown, context: EvaluationContext | None, *, default: bool) -> None:
    """Without one the caller's default is given, and said why."""
    await shown.put(HALF)
    assert shown.ask(context, default=default) == (default, None, Reason.ERROR, ErrorCode.TARGETING_KEY_MISSING)


async def test_what_is_no_flag_is_not_found(shown: Shown) -> None:
    """Of whatever type."""
    boolean = shown.client.get_boolean_details("push", True)
    assert (boolean.value, boolean.reason, boolean.error_code) == (True, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND)
    assert shown.client.get_string_details("push", "x").error_code is ErrorCode.FLAG_NOT_FOUND


async def test_flags_are_booleans(shown: Shown) -> None:
    """Asked for anything else the caller gets its default and `TYPE_MISMATCH`."""
    client = shown.client
    answers = [
        (client.get_string_details(FLAG, "x"), "x"),
        (client.get_integer_details(FLAG, 7), 7),
        (client.get_float_details(FLAG, 0.5), 0.5),
        (client.get_object_details(FLAG, {"a": 1}), {"a": 1}),
    ]
    for found, default in answers:
        assert (found.value, found.reason, found.error_code) == (default, Reason.ERROR, ErrorCode.TYPE_MISMATCH)


def test_a_server_does_not_load_the_sdk() -> None:
    """Nothing that a node imports imports OpenFeature."""
    code = "import sys, sessioncast_server.server; sys.exit('openfeature' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
