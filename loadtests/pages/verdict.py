"""What was counted of pages, and what was hoped for."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pages.happening import SceneName
from pages.proxy import Traffic
from pages.readers import GIT, PageName


@dataclass(frozen=True, slots=True)
class Counted:
    """One page in one scene.

    Attributes:
        calls, size: requests, and bytes of both directions; `git_…`: of these, the git section's.
        delays_s: from each change to when it was shown; None: it was not, before the end.
    """

    scene: SceneName
    page: PageName
    calls: int
    size: int
    git_calls: int
    git_size: int
    delays_s: list[float | None]

    @classmethod
    def of(cls, scene: SceneName, page: PageName, traffic: Traffic, delays_s: list[float | None]) -> "Counted":
        """What the proxy counted."""
        calls, size = traffic.calls, traffic.size
        return cls(scene, page, calls.total(), size.total(), calls[GIT], size[GIT], delays_s)


def quantile_ms(delays_s: Iterable[float | None], share: float) -> float:
    """Milliseconds that this share of the delays stays within; infinite where some were never seen, NaN of none."""
    found = sorted(math.inf if delay is None else delay * 1000 for delay in delays_s)
    return found[math.ceil(share * len(found)) - 1] if found else math.nan


def fewer(ours: float, theirs: float) -> float:
    """Share that is saved."""
    return 1 - ours / theirs if theirs else math.nan


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target, beside what was measured."""

    what: str
    wanted: str
    measured: str
    met: bool

    def line(self) -> str:
        """As it is printed."""
        return f"{self.what:<62} {self.wanted:>16} {self.measured:>18}  {'met' if self.met else 'MISSED'}"


def table(rows: list[Counted]) -> Iterator[str]:
    """Every page of every scene."""
    yield (
        f"{'session':<8} {'page':<26} {'calls':>6} {'fewer':>7} {'kB':>8} {'fewer':>7} {'changes':>8} "
        f"{'p50 ms':>8} {'p99 ms':>8}"
    )
    for row in rows:
        first = _before(rows, row.scene)
        name = "before, with git section" if row is first else row.page
        yield _row(row, name, row.calls, row.size, fewer(row.calls, first.calls), fewer(row.size, first.size))
        if row is first:
            yield _row(row, "before, without", *_without_git(row), 0.0, 0.0)


def _row(row: Counted, name: str, calls: int, size: int, fewer_calls: float, fewer_bytes: float) -> str:
    first = row.page == "before"
    saved = ["" if first else f"{share:.1%}" for share in (fewer_calls, fewer_bytes)]
    shares = f"{saved[0]:>7} {size / 1000:>8,.1f} {saved[1]:>7}"
    delays = [f"{quantile_ms(row.delays_s, share):,.1f}" for share in (0.5, 0.99)] if row.delays_s else ["", ""]
    return f"{row.scene:<8} {name:<26} {calls:>6,} {shares} {len(row.delays_s):>8} {delays[0]:>8} {delays[1]:>8}"


def _before(rows: list[Counted], scene: SceneName) -> Counted:
    return next(row for row in rows if (row.scene, row.page) == (scene, "before"))


def _without_git(row: Counted) -> tuple[int, int]:
    return row.calls - row.git_calls, row.size - row.git_size


def verdicts(rows: list[Counted], pace_s: float) -> list[Verdict]:
    """The targets. Calls are held against those of a page whose git section asks for nothing: the stricter reading."""
    found = []
    for row in rows:
        calls = _without_git(_before(rows, row.scene))[0]
        share = fewer(row.calls, calls)
        if row.page == "polling":
            found.append(_at_least(f"{row.scene} session, polling: fewer calls (without git)", 0.50, share))
        elif row.page == "pushing" and row.scene == "quiet":
            found.append(_at_least(f"{row.scene} session, pushing: fewer calls (without git)", 0.98, share))
    delays = {page: [delay for row in rows if row.page == page for delay in row.delays_s] for page in _names(rows)}
    if delays.get("before"):
        for name, share in (("p50", 0.50), ("p99", 0.99)):
            theirs, ours = quantile_ms(delays["before"], share), quantile_ms(delays["pushing"], share)
            found.append(
                Verdict(f"pushing: a change is seen, {name}", f"< {theirs:,.0f} ms", f"{ours:,.1f} ms", ours < theirs)
            )
        polled = quantile_ms(delays["polling"], 0.99)
        within = 2 * pace_s * 1000
        what = "polling: a change is seen within twice the pace, p99"
        found.append(Verdict(what, f"≤ {within:,.0f} ms", f"{polled:,.0f} ms", polled <= within))
    return found


def _names(rows: list[Counted]) -> set[PageName]:
    return {row.page for row in rows}


def _at_least(what: str, wanted: float, measured: float) -> Verdict:
    return Verdict(what, f"≥ {wanted:.0%}", f"{measured:.1%}", measured >= wanted)
