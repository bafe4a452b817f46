"""The journal of finished rows: what was paid for survives whatever ends the process.

One private SQLite file in WAL mode, one commit a row, no fsync (`synchronous = NORMAL`): a row is
kept against `kill -9` when `add` returns. A power cut may take the rows since SQLite last wrote
its log back (some hundreds), never what is before them; the response cache may still know those.
`benchmarks/journal.py` measures about 15 microseconds and 160 bytes a row; waiting for the disk
takes 9 to 14 times as long, and parquet parts that keep each row as it comes 250 to 420 times.
"""

from __future__ import annotations

import json
import operator
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from valuesim_dspy.errors import ConfigError, shown
from valuesim_dspy.journal_file import (
    FORMAT,
    JournalMeta,
    check_row,
    checksum,
    decisive,
    difference,
    explained,
    foreign,
    open_file,
    readable,
)
from valuesim_dspy.outcomes import Outcome

STATUSES = ("answered", "invalid", "failed", "skipped")
FIELDS = tuple(n for n in Outcome.__dataclass_fields__ if n not in ("status", "reason"))
PAGE = 1000

_encode = json.JSONEncoder(separators=(",", ":"), default=operator.index).encode
_values_of = operator.attrgetter(*FIELDS)
_outcome: TypeAdapter[Outcome] = TypeAdapter(Outcome)


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of the respondents.

    Args:
        index: Which one, from 1.
        of: How many there are.
    """

    index: int
    of: int

    def takes(self, i: int) -> bool:
        """Whether the i-th respondent, from 0, is in this part."""
        return i % self.of == self.index - 1

    def size(self, respondents: int) -> int:
        """Return how many of so many respondents are in this part."""
        return (respondents - self.index) // self.of + 1 if respondents >= self.index else 0

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


class Journal:
    """The finished rows of a run, and with which arguments it was begun; made by `Journal.open`.

    Threads may share it; a second process, or a second `Journal`, is refused while it is open.
    It is not carried over a fork.

    Args:
        path: A journal that is there.

    Attributes:
        path: The file.
        arguments: Everything that decides the answers, in plain values; not the shard.
        total: Rows of the whole run, all shards together.
        width: Rows a respondent, which follow each other.
        shard: The part of the respondents that is kept here; None for all.
        expected: Rows that are kept here when all is done.

    Raises:
        MissingDataError: There is none.
        ConfigError: It is damaged, somebody else's, of another version, or in use.
    """

    def __init__(self, path: str | Path) -> None:
        self._begin(Path(path), None)

    @classmethod
    def open(
        cls,
        path: str | Path,
        arguments: Mapping[str, Any],
        total: int,
        shard: Shard | None = None,
        width: int = 1,
    ) -> Journal:
        """Begin a journal, or take one up that was begun with the same arguments.

        One in which nothing is kept yet may have been begun with any.

        Args:
            path: The file; only its owner can read it.
            arguments: Everything that decides the answers: JSON values by name, no secrets.
            total: Rows of the whole run.
            shard: The part of the respondents that is kept here; None for all.
            width: Rows a respondent, which follow each other: `total` is a multiple of it.

        Raises:
            ConfigError: It was begun with other arguments, which are named; or as above.
        """
        meta = JournalMeta(
            format=FORMAT,
            fields=list(FIELDS),
            arguments=json.loads(_encode(dict(arguments))),
            total=total,
            width=width,
            shard=(shard.index, shard.of) if shard is not None else None,
        )
        journal = cls.__new__(cls)
        journal._begin(Path(path), meta)
        try:
            journal._take_up(meta)
        except ConfigError:
            journal.close()
            raise
        return journal

    def _begin(self, path: Path, meta: JournalMeta | None) -> None:
        self.path, self._lock = path, threading.RLock()
        self._db = open_file(path, meta)
        try:
            self._load()
        except BaseException:
            self._db.close()
            raise

    def _load(self) -> None:
        with explained(self.path):
            texts = self._db.execute("SELECT value FROM meta").fetchall()
            with readable("what it says of itself"):
                ((text,),) = texts
                self._meta = JournalMeta.model_validate(json.loads(text))
            if self._meta.format != FORMAT or not set(self._meta.fields) <= set(FIELDS):
                raise foreign(self.path, "another version of this program wrote it")
            self.arguments, self.total = self._meta.arguments, self._meta.total
            self.width, pair = self._meta.width, self._meta.shard
            self.shard = Shard(*pair) if pair is not None else None
            respondents = self.total // self.width
            held = self.shard.size(respondents) if self.shard is not None else respondents
            self.expected = held * self.width
            self._count_rows()

    def _count_rows(self) -> None:
        # A bit a row: 24 million rows take 3 MB.
        self._done, self._counts = bytearray(self.total // 8 + 1), Counter[str]()
        for number, status, *rest, digest in self._db.execute("SELECT * FROM rows"):
            if not self.takes(number) or status not in STATUSES:
                raise sqlite3.DatabaseError(f"it cannot have a row {shown(number)}")
            check_row(digest, number, status, *rest)
            self._done[number >> 3] |= 1 << (number & 7)
            self._counts[status] += 1

    def differences(self, arguments: Mapping[str, Any], total: int, width: int) -> list[str]:
        """Return what of a run is not as it was kept, each with both values; empty if all is."""
        kept, given = decisive(self.arguments), decisive(arguments)
        pairs = {name: (kept.get(name), given.get(name)) for name in {**kept, **given}}
        pairs |= {"rows": (self.total, total), "rows a respondent": (self.width, width)}
        return [difference(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1]]

    def _take_up(self, given: JournalMeta) -> None:
        told = self.differences(given.arguments, given.total, given.width)
        if given.shard != self._meta.shard:
            told.append(difference("shard", self._meta.part, given.part))
        if told and not self.count:
            with explained(self.path):
                self._db.execute("UPDATE meta SET value = ?", (given.text,))
            self._load()
        elif told:
            raise ConfigError(
                f"{self.path} was begun with other arguments: {'; '.join(told)}; give the kept "
                "ones to go on, or write to another file"
            )

    def takes(self, number: int) -> bool:
        """Whether a row of this number is kept here."""
        if not 0 <= number < self.total:
            return False
        return self.shard is None or self.shard.takes(number // self.width)

    def add(self, number: int, outcome: Outcome) -> None:
        """Keep a row; of two with the same number, the first stays.

        Raises:
            ConfigError: It is no row of this journal, or the disk is full; what was kept is kept.
        """
        if not self.takes(number) or outcome.status not in STATUSES:
            raise ConfigError(f"{self.path} keeps no row {number} that is {outcome.status}")
        # Escaped, so that any text a server sends can be kept.
        reason, kept = _encode(outcome.reason), _encode(_values_of(outcome))
        digest = checksum(number, outcome.status, reason, kept)
        with self._lock, explained(self.path):
            if self.is_done(number):
                return
            self._db.execute(
                "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?)",
                (number, outcome.status, reason, kept, digest),
            )
            self._done[number >> 3] |= 1 << (number & 7)
            self._counts[outcome.status] += 1

    def is_done(self, number: int) -> bool:
        """Whether the row is kept, whatever its status."""
        return bool(self._done[number >> 3] & 1 << (number & 7))

    @property
    def count(self) -> int:
        """How many rows are kept."""
        return self._counts.total()

    def counts(self) -> dict[str, int]:
        """Return how many rows there are of each status that occurs."""
        return {status: self._counts[status] for status in STATUSES if self._counts[status]}

    @property
    def retries(self) -> int:
        """How often rows were dropped, so that they are asked again."""
        return self._meta.retries

    def numbers(self, statuses: Iterable[str]) -> frozenset[int]:
        """Return the numbers of the rows of these statuses."""
        chosen = tuple(statuses)
        statement = f"SELECT number FROM rows WHERE status IN ({', '.join('?' * len(chosen))})"
        with self._lock, explained(self.path):
            return frozenset(number for (number,) in self._db.execute(statement, chosen))

    def reasons(self, limit: int = -1) -> list[tuple[str, str, int]]:
        """Return status, reason and number of rows of what was not answered, most frequent first.

        Args:
            limit: At most so many; all by default.
        """
        statement = (
            "SELECT status, reason, count(*) AS n FROM rows WHERE status != 'answered'"
            " GROUP BY status, reason ORDER BY n DESC, status, reason LIMIT ?"
        )
        with self._lock, explained(self.path):
            found = self._db.execute(statement, (limit,)).fetchall()
            with readable("a reason"):
                return [(status, str(json.loads(reason)), rows) for status, reason, rows in found]

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Yield the rows in the order of their numbers; never all of them are in memory."""
        last = -1
        while True:
            statement = "SELECT * FROM rows WHERE number > ? ORDER BY number LIMIT ?"
            with self._lock, explained(self.path):
                rows = self._db.execute(statement, (last, PAGE)).fetchall()
                page = [(row[0], self._read(*row)) for row in rows]
            if not page:
                return
            yield from page
            last = page[-1][0]

    def _read(self, number: int, status: str, reason: str, kept: str, digest: int) -> Outcome:
        check_row(digest, number, status, reason, kept)
        with readable(f"row {number}"):
            values = dict(zip(self._meta.fields, json.loads(kept), strict=True))
            values |= {"status": status, "reason": json.loads(reason)}
            return _outcome.validate_python(values)

    def drop(self, statuses: Iterable[str]) -> int:
        """Forget the rows of these statuses, so that they are asked again; return how many."""
        chosen = tuple(statuses)
        marks = ", ".join("?" * len(chosen))
        with self._lock, explained(self.path):
            self._meta = self._meta.model_copy(update={"retries": self.retries + 1})
            self._db.execute("UPDATE meta SET value = ?", (self._meta.text,))
            gone = self._db.execute(f"DELETE FROM rows WHERE status IN ({marks})", chosen).rowcount
            self._count_rows()
        return int(gone)

    def close(self) -> None:
        """Close the file; others may open it."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
