"""What is done to a project over time: built once, then updated, and its session compacted now and then."""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # for `support`

from support.provider import Work

_REREAD = 0.2
"""Share of the project that a resumed session reads again after it was compacted: a summary is not the files."""


@dataclass(frozen=True, slots=True)
class Update:
    """A change that is asked for.

    Attributes:
        compact: whether whoever resumes compacts the session before.
    """

    work: Work
    compact: bool

    @property
    def after_compaction(self) -> Work:
        """The same work by a session that knows of the project what a summary says."""
        again = round(self.work.project_tokens * _REREAD)
        return Work(
            project_tokens=self.work.project_tokens,
            prompt_tokens=self.work.prompt_tokens + again,
            output_tokens=self.work.output_tokens,
            turns=self.work.turns,
        )


def build(project_tokens: int) -> Work:
    """What makes the project: nothing is there to be read, all of it is known afterwards."""
    return Work(project_tokens=0, prompt_tokens=5_000, output_tokens=project_tokens, turns=40)


def updates(project_tokens: int, *, count: int, compact_every: int, seed: int) -> Iterator[Update]:
    """So many updates; their sizes follow from the seed and are the same for projects of all sizes.

    Args:
        compact_every: the first one and every so manieth after it are preceded by a compaction; 0: none.
    """
    chance = random.Random(seed)
    for number in range(count):
        work = Work(
            project_tokens=project_tokens,
            prompt_tokens=chance.randint(2_000, 8_000),
            output_tokens=chance.randint(1_000, 4_000),
            turns=chance.randint(4, 12),
        )
        yield Update(work, compact=compact_every > 0 and number % compact_every == 0)
