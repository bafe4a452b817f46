"""Peers: the training respondents most like a person, and what they answered to one question."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from valuesim_dspy.case import Case, plain_text
from valuesim_dspy.errors import ConfigError, PredictionError
from valuesim_dspy.survey.agreement import Known, PackedAnswers
from valuesim_dspy.survey.answers import Answers
from valuesim_dspy.survey.question import Question
from valuesim_dspy.survey.respondents import Respondents

PEERS = 20
"""How many peers are asked."""
METHOD = "kappa-1"
"""How people are compared; another method gives another digest."""
_REMEMBERED = 32
_ANSWERED = "gave these answers to this very question, with shares in which the nearest weigh most:"

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Peers:
    """The people most like one person who answered the question, the nearest first.

    Those of the person's own country come before all others.

    Args:
        question: What they were asked.
        codes: What each answered, int [n].
        similarities: How like the person each is, float64 [n], in [0, 1]: agreement beyond chance
            (`valuesim_dspy.survey.agreement`); less than chance is 0.
        same_country: Whether each lives in the person's country, bool [n].
        compared: How many answers of the person they were found by.
        country: The person's country, alpha-3; None where unknown.
    """

    question: Question
    codes: Array
    similarities: Array
    same_country: Array
    compared: int
    country: str | None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def counts(self) -> dict[int, int]:
        """Code to how many gave it, ascending; codes that nobody gave are left out."""
        codes, counts = np.unique(self.codes, return_counts=True)
        return dict(zip(codes.tolist(), counts.tolist(), strict=True))

    @property
    def shares(self) -> dict[int, float]:
        """Code to its share of the similarities, ascending; together 1, of nobody nothing.

        Where nobody is more like the person than chance, all count alike.
        """
        weights = self.similarities if self.similarities.any() else np.ones(len(self))
        total = float(weights.sum())
        return {code: float(weights[self.codes == code].sum()) / total for code in self.counts}

    @property
    def mode(self) -> int:
        """The code with the greatest share; a tie goes to the lowest.

        Raises:
            PredictionError: Nobody answered the question.
        """
        if not len(self):
            message = f"{self.question.id}: nobody of the training split answered this question"
            raise PredictionError(message)
        # Rounded: what is equal must not be told apart by the last bit of a sum.
        shares = {code: round(share, 9) for code, share in self.shares.items()}
        return max(shares, key=lambda code: (shares[code], -code))

    @property
    def text(self) -> str:
        """What they answered, in words that speak to the person."""
        if not len(self):
            return "(nobody else who was interviewed answered this question)"
        counts, shares = self.counts, self.shares
        chosen = [
            f'- "{plain_text(self.question.label(code))}": {counts[code]} of {len(self)}, '
            f"a share of {shares[code]:.0%}"
            for code in counts
        ]
        return "\n".join([f"{self._who} {_ANSWERED}", *chosen])

    @property
    def _who(self) -> str:
        near = int(self.same_country.sum())
        far = len(self) - near
        if not self.country:
            who = f"Of all people interviewed, the {_number(far)}"
        elif near and far:
            home = f"the {_number(near)} in your country"
            who = f"Of the people interviewed, {home} and the {_number(far)} in other countries"
        else:
            home = "your country" if near else "other countries"
            who = f"Of the people interviewed in {home}, the {_number(near or far)}"
        if self.compared:
            return f"{who} whose answers to other questions are most like yours"
        return f"{who} on whom the lot fell, since no answer of yours is known,"


def _number(count: int) -> str:
    return "one" if count == 1 else str(count)


class PeerIndex:
    """Finds the training respondents most like a person; immutable, shared by copies, thread-safe.

    People are compared by the answers of the profile and the history, never by the question that
    is asked, and never by private answers. People of the person's own country come first, however
    like the person others are: what is usual, and what words mean, differs most between countries.
    Others come in where fewer people of the country than asked for answered the question. Equals
    are ordered by a hash of seed and key, since the order of a file is that of the interviews.
    Rows that share an interview number are left out: they may be the person who is asked.

    Memory: about 200 bytes a person for 290 questions, and 4 bytes for each person compared of
    the 32 comparisons made last.
    """

    def __init__(self, people: Respondents, *, salt: str, seed: int = 0) -> None:
        """See `of`."""
        if people.report.duplicates:
            rows = Counter(people.ids)
            people = people.take([at for at, id in enumerate(people.ids) if rows[id] == 1])
        keys = np.array([person.key(salt) for person in people], dtype="S12")
        drawn = np.array([_draw(seed, key) for key in keys], dtype="S32")
        alphas = np.array(people.alphas, dtype=str)
        order = np.lexsort((drawn, alphas))
        self.seed = seed
        self.digest = _digest(people, salt, seed)
        self._people = len(people)
        self._codebook = people.codebook.id
        self._answers = PackedAnswers(people.take(order))
        self._keys = keys[order]
        self._turn = np.argsort(np.argsort(drawn[order], kind="stable"), kind="stable")
        self._homes = _spans(alphas[order])
        self._found: OrderedDict[tuple[Known, int, int], Array] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of(
        cls, respondents: Respondents, indices: Sequence[int], *, salt: str, seed: int = 0
    ) -> PeerIndex:
        """Build an index over some respondents, whatever the order they are given in.

        Args:
            respondents: The survey.
            indices: Positions of those who may be peers: the training split.
            salt: What keys are salted with, as for the profiles that will be asked about.
            seed: Orders those who are equally near.
        """
        return cls(respondents.take(np.unique(indices)), salt=salt, seed=seed)

    def __len__(self) -> int:
        return self._people

    def __repr__(self) -> str:
        return f"PeerIndex({self._people} people, {self.digest})"

    def __deepcopy__(self, memo: dict[int, Any]) -> PeerIndex:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_found": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def describe(self) -> dict[str, str | int]:
        """What a manifest keeps of it: `digest`, `people` and `seed`."""
        return {"digest": self.digest, "people": self._people, "seed": self.seed}

    def text(self, case: Case, n: int = PEERS) -> str:
        """Return what the n nearest answered, as a prompt shows it; says so if nobody did."""
        return self.nearest(case, n).text

    def nearest(self, case: Case, n: int = PEERS) -> Peers:
        """Return the n people most like a case's person who answered its question.

        Args:
            case: The person and the question; the person themself is never among the peers.
            n: How many, at least 1; fewer where fewer answered.

        Raises:
            ConfigError: n is below 1, or the case is of another codebook.
        """
        if n < 1:
            raise ConfigError("at least one person is needed", key="n", value=n)
        if case.profile.codebook.id != self._codebook:
            message = f"these peers answered the codebook {self._codebook}"
            raise ConfigError(message, key="codebook", value=case.profile.codebook.id)
        country = case.profile.country or None
        known = self._known(case)
        everyone = slice(0, self._people)
        home = self._homes.get(country or "", slice(0, 0))
        rows, agreement = self._best(case, known, home, n)
        if len(rows) < n:
            others = self._best(case, known, everyone, n - len(rows), but=home)
            rows = np.concatenate([rows, others[0]])
            agreement = np.concatenate([agreement, others[1]])
        item = self._answers.items.get(case.question.id)
        places = self._answers.places(case.question.id, rows) if item else rows
        return Peers(
            question=case.question,
            codes=item.codes[places] if item else places,
            similarities=np.clip(agreement.astype(np.float64), 0.0, 1.0),
            same_country=(rows >= home.start) & (rows < home.stop),
            compared=len(known),
            country=country,
        )

    def _known(self, case: Case) -> Known:
        """What the person is compared by; the newest answer to a question rules."""
        given = case.profile.answers
        answers = given.codes() if isinstance(given, Answers) else dict(given)
        answers |= {item.question.id: item.code for item in case.history}
        return self._answers.known(answers, but=case.question.id)

    def _best(
        self, case: Case, known: Known, span: slice, n: int, but: slice = slice(0, 0)
    ) -> tuple[Array, Array]:
        """Return rows and agreement of the n nearest of a span who answered, the nearest first."""
        item = self._answers.items.get(case.question.id)
        is_asked = (
            item and not item.is_open and set(item.codes.tolist()) == set(case.question.codes)
        )
        if not item or not is_asked or span.start == span.stop:
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.float32)
        may = self._answers.places(case.question.id, span) < item.places
        may &= self._keys[span] != case.profile.key.encode()
        may[but] = False
        rows = np.flatnonzero(may)
        agreement = self._agreement(known, span)[rows]
        if len(rows) > n:
            least = np.partition(agreement, -n)[-n]
            rows, agreement = rows[agreement >= least], agreement[agreement >= least]
        order = np.lexsort((self._turn[span][rows], -agreement))[:n]
        return rows[order] + span.start, agreement[order]

    def _agreement(self, known: Known, span: slice) -> Array:
        """Compare, or remember: a person's questions follow each other."""
        asked = (known, span.start, span.stop)
        with self._lock:
            if asked in self._found:
                self._found.move_to_end(asked)
                return self._found[asked]
        found = self._answers.agreement(known, span)
        with self._lock:
            self._found[asked] = found
            while len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        return found


def _draw(seed: int, key: bytes) -> bytes:
    return hashlib.sha256(b"%d:%s" % (seed, key)).hexdigest()[:32].encode()


def _spans(alphas: Array) -> dict[str, slice]:
    """Where each country's people stand, ordered by country; people of no country have none."""
    names, starts, counts = np.unique(alphas, return_index=True, return_counts=True)
    spans = zip(names.tolist(), starts.tolist(), counts.tolist(), strict=True)
    return {name: slice(start, start + count) for name, start, count in spans if name}


def _digest(people: Respondents, salt: str, seed: int) -> str:
    """16 hex digits of the data, who of it is there, how they are compared, and the seed."""
    parts = [METHOD, people.digest, people.codebook.digest, salt, seed, people.rows.tolist()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
