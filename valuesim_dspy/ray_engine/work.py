"""What is left to do, in chunks of people; chunks whose worker died come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil

import dspy

from valuesim_dspy.asked import Asked
from valuesim_dspy.journal import Journal
from valuesim_dspy.outcomes import Outcome

LIVES = 3
"""Workers that may end over one person; and in a row, for each worker there is."""


@dataclass(frozen=True)
class Chunk:
    """People that are given to one worker at once.

    Args:
        at: Places in the plan's positions.
        lost: Workers that ended over them when there was but one of them.
    """

    at: tuple[int, ...]
    lost: int = 0


class Work:
    """The people who have rows left, cut into chunks when a worker is free.

    Args:
        opened: What is asked of whom.
        journal: Which rows are done.
        workers: How many share the work.
        rows: About how many rows a chunk has at most.
    """

    def __init__(self, opened: Asked, journal: Journal, *, workers: int, rows: int) -> None:
        self.opened, self.journal, self._workers = opened, journal, workers
        self._most = ceil(rows / len(opened.questions))
        self._again: deque[Chunk] = deque()
        self._people = (at for at in range(len(opened.positions)) if self.left(at))

    def is_done(self, number: int) -> bool:
        """Whether a row is kept, or is another shard's."""
        return not self.journal.takes(number) or self.journal.is_done(number)

    def numbers(self, at: int) -> range:
        """Return the numbers of a person's rows."""
        width = len(self.opened.questions)
        return range(at * width, (at + 1) * width)

    def left(self, at: int) -> bool:
        """Whether a person has rows left."""
        return not all(map(self.is_done, self.numbers(at)))

    def next(self) -> Chunk | None:
        """Return the next people to ask; None where all are done or given out.

        Chunks become small towards the end, so that workers end together.
        """
        while self._again:
            chunk = self._again.popleft()
            if at := tuple(filter(self.left, chunk.at)):
                return Chunk(at, chunk.lost)
        people = (self.journal.expected - self.journal.count) / len(self.opened.questions)
        size = max(1, min(self._most, ceil(people / (2 * self._workers))))
        at = tuple(islice(self._people, size))
        return Chunk(at) if at else None

    def done_in(self, chunk: Chunk) -> tuple[int, ...]:
        """Return the numbers of a chunk's rows that are not to be asked."""
        return tuple(n for at in chunk.at for n in self.numbers(at) if self.is_done(n))

    def give_back(self, chunk: Chunk) -> Iterator[tuple[int, Outcome]]:
        """Take back the people whose worker ended, in halves; yield the rows that are given up.

        So a person that ends every worker is soon alone, and the others are answered.
        """
        at = tuple(filter(self.left, chunk.at))
        if len(at) > 1:
            middle = len(at) // 2
            self._again += [Chunk(at[:middle]), Chunk(at[middle:])]
        elif at and chunk.lost + 1 < LIVES:
            self._again.append(Chunk(at, chunk.lost + 1))
        elif at:
            for number, row in self.opened.rows(at, self.is_done):
                yield number, row if isinstance(row, Outcome) else _given_up(row)


def _given_up(row: dspy.Example) -> Outcome:
    profile = row.case.profile
    return Outcome(
        respondent=profile.key,
        question=row.case.question.id,
        truth=row.get("answer"),
        answer=None,
        status="failed",
        reason=f"{LIVES} Ray workers ended while they asked this person",
        country=profile.country or "",
    )
