"""What was saved, in per cent, and what was hoped for."""

from dataclasses import dataclass

from resuming.replay import Replayed


@dataclass(frozen=True, slots=True)
class Saved:
    """What resuming saved of what beginning afresh takes; shares, negative when it takes more.

    Attributes:
        resumed: share of updates that resumed.
        cost: compactions included.
        time: of the updates, as measured.
        provider_time: of the updates, of the provider's own time alone.
        time_with_compactions: as if nobody could go on while a session is compacted.
    """

    project_tokens: float
    resumed: float
    fresh_usd: float
    resuming_usd: float
    cost: float
    fresh_s: float
    resuming_s: float
    time: float
    provider_time: float
    time_with_compactions: float


@dataclass(frozen=True, slots=True)
class Aim:
    """A target of the seed, for the updates of its projects, whose size it does not tell."""

    name: str
    what: str
    low: float
    high: float

    def verdict(self, project_tokens: int, value: float) -> str:
        """A line for people."""
        reached = "above it" if value > self.high else "reached" if value >= self.low else "MISSED"
        return (
            f"{project_tokens:>9,} tokens: {self.what} {value:.0%}; "
            f"the seed's target: {self.low * 100:.0f} to {self.high:.0%}, {reached}"
        )


AIMS = (Aim("cost", "cheaper by", 0.30, 0.50), Aim("time", "faster by", 0.40, 0.60))


def saved(made: Replayed) -> Saved:
    """What the one saved who resumed."""
    fresh, resuming = made.fresh, made.resuming
    return Saved(
        project_tokens=made.project_tokens,
        resumed=resuming.resumed / made.updates,
        fresh_usd=fresh.cost_usd,
        resuming_usd=resuming.cost_usd,
        cost=1 - resuming.cost_usd / fresh.cost_usd,
        fresh_s=fresh.updates_s / made.updates,
        resuming_s=resuming.updates_s / made.updates,
        time=1 - resuming.updates_s / fresh.updates_s,
        provider_time=1 - resuming.provider_s / fresh.provider_s,
        time_with_compactions=1 - (resuming.updates_s + resuming.compactions_s) / fresh.updates_s,
    )


def show_head() -> None:
    """The head of the table."""
    print(
        f"{'round':>5} {'project':>9} {'resumed':>8} {'fresh USD':>10} {'resuming':>9} {'saved':>6} "
        f"{'fresh s':>8} {'resuming':>9} {'saved':>6} {'provider':>9} {'with compactions':>17}"
    )


def line(number: str, one: Saved) -> str:
    """A line of it; seconds are of an update, in the mean."""
    return (
        f"{number:>5} {one.project_tokens:>9,.0f} {one.resumed:>8.0%} {one.fresh_usd:>10.2f} {one.resuming_usd:>9.2f} "
        f"{one.cost:>6.0%} {one.fresh_s:>8.1f} {one.resuming_s:>9.1f} {one.time:>6.0%} {one.provider_time:>9.0%} "
        f"{one.time_with_compactions:>17.0%}"
    )
