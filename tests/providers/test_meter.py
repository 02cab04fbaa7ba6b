"""What a node counts of resumes: how often they worked, why not, how old ids were, and what was saved."""

from typing import Any

import pytest

from support.api import Api
from support.chains import FLAG, Chain, fenced, figures, given


class Counted:
    """How much a node's figures rose since this was made."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._before = figures(api)

    def __call__(self, name: str, *labels: str) -> float:
        """Of a figure with these values of labels."""
        return round(figures(self._api).get((name, *labels), 0) - self._before.get((name, *labels), 0), 9)


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session with a head."""
    found = Chain.begin(api)
    found.link("A")
    return found


def test_decisions_are_counted_by_reason(admin: Api, chain: Chain) -> None:
    """Resumes, and each reason to begin afresh, once each; with the age of what was decided about."""
    counted = Counted(chain.api)
    chain.decided(fork=True)
    Chain.begin(chain.api).decided()
    admin.ok(admin.request("PUT", FLAG, json={"state": "off"}), 200)
    chain.decided(fork=True)
    admin.ok(admin.request("PUT", FLAG, json={"state": "on"}), 200)
    assert counted("resume_decisions_total", "resume", "") == 1
    assert counted("resume_decisions_total", "fresh", "none") == 1
    assert counted("resume_decisions_total", "fresh", "disabled") == 1
    assert counted("resume_age_seconds_count") == 2


def test_attempts_are_counted_by_what_became_of_them(chain: Chain) -> None:
    """Failures by reason, and one success for each that worked, also where it had worked before it was told of."""
    counted = Counted(chain.api)
    _, row = chain.taken()
    for reason in ("locked", "timeout"):
        chain.failed(row, reason)
    chain.ended(row, new_provider_session_id=given("B"))
    chain.ended(row)
    decision = chain.decided()
    wanted: dict[str, Any] = {"resumed_from": decision["provider_session_id"], "provider_session_id": given("C")}
    chain.ended(chain.opened(fence=decision["fence"], **wanted))
    assert counted("resume_attempts_total", "failed", "locked") == 1
    assert counted("resume_attempts_total", "failed", "timeout") == 1
    assert counted("resume_attempts_total", "succeeded", "") == 2


def test_beginnings_ends_and_ids_are_counted(chain: Chain) -> None:
    """Each once, and repeated requests not at all."""
    counted = Counted(chain.api)
    new = given("B")
    for _ in range(2):
        row = chain.open(headers=fenced(key="open")).json()
        chain.api.ok(chain.patch(row, headers=fenced(key="id"), new_provider_session_id=new), 200)
    chain.patched(row, new_provider_session_id=new)
    chain.ended(row)
    chain.ended(row)
    assert counted("provider_sessions_started_total") == 1
    assert counted("provider_sessions_ended_total", "ended") == 1
    assert counted("provider_id_updates_total") == 1


def test_what_was_saved_is_counted_once(chain: Chain) -> None:
    """As clients reckon it, more or less than nothing; a repeated request adds nothing."""
    counted = Counted(chain.api)
    row = chain.opened()
    for _ in range(2):
        answer = chain.patch(row, headers=fenced(key="k"), saved={"cost_usd": 1.5, "seconds": 20}, ended=True)
        chain.api.ok(answer, 200)
    chain.patched(row, saved={"cost_usd": -0.5, "seconds": -5})
    assert counted("resume_saved_cost_usd") == 1.0
    assert counted("resume_saved_seconds") == 15
