"""The loads that there are."""

from dataclasses import dataclass

SETTLE_S = 2.0
"""Between the arrival of the last user and the first one that is timed: the last streams have their state then."""
NORMAL_USERS = 100
HEAVY_USERS = 500


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load.

    Attributes:
        ramp_s: seconds in which the users come.
        seconds: how long all of them work and are timed, once they have settled.
    """

    users: int
    ramp_s: float
    seconds: float


SCENARIOS = {
    "normal": Scenario(NORMAL_USERS, ramp_s=5, seconds=60),
    "heavy": Scenario(HEAVY_USERS, ramp_s=20, seconds=60),
}
"""By name; the longer ones find their place here."""


def of_users(users: int) -> Scenario:
    """The scenario of so many users, or one like them."""
    known = [scenario for scenario in SCENARIOS.values() if scenario.users == users]
    return known[0] if known else Scenario(users, ramp_s=max(1.0, users / 25), seconds=60)
