"""An interview: guess unseen, ask, reveal, learn, and count how often the guess was right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dspy

from valuesim_dspy.case import plain_text
from valuesim_dspy.commitments import Commitment, Commitments, SettledError, sealed_text
from valuesim_dspy.errors import ConfigError, InvalidAnswerError, PredictionError
from valuesim_dspy.observing import code_of
from valuesim_dspy.people import Person
from valuesim_dspy.preflight import describe_error
from valuesim_dspy.survey.codebook import Question

if TYPE_CHECKING:
    from valuesim_dspy.survey.informative import Informative

OURS = "program"
QUIT, SKIP, DONT_KNOW = "quit", "skip", "don't know"
_SAID = {
    **dict.fromkeys(("q", "quit", "exit"), QUIT),
    **dict.fromkeys(("s", "skip"), SKIP),
    **dict.fromkeys(("?", "dk", "don't know", "dont know", "don\u2019t know"), DONT_KNOW),
}
HOW = "Answer with a code or the option's words; or: skip, don't know (?), quit."

Ask = Callable[[Question], str]
"""Returns what the person says: an answer, or one of the words that `HOW` names."""
Say = Callable[[str], object]


@dataclass(frozen=True)
class Interview:
    """Questions put to one person, each guessed before it is answered.

    Every guess and every answer is kept as it comes: an interview may end at any time, and one
    of the same person, program and questions goes on where it ended. Of two at once, the one that
    is answered first counts a question.

    Args:
        person: Who is asked.
        guessers: Name to program; the one named `OURS` comes first and is the interview's own.
        commitments: Where guesses are kept.
        ask: Gets the true answer.
        say: Shows a line.
        informative: Chooses what to ask next; None keeps to the order given.
        source: Where answers are noted to come from.
    """

    person: Person
    guessers: Mapping[str, dspy.Module]
    commitments: Commitments
    ask: Ask
    say: Say
    informative: Informative | None = None
    source: str = "interview"

    def run(self, questions: Iterable[Question], *, most: int | None = None) -> int:
        """Ask what was not asked before; return how many were answered this time.

        Args:
            questions: What may be asked, in order.
            most: At most so many are asked; None for all.

        Raises:
            PredictionError: The model cannot be reached; what was answered is kept.
        """
        settled = self.commitments.settled()
        waiting = {each.id: each for each in questions if each.id not in settled}
        turn = answered = 0
        while waiting and (most is None or turn < most):
            total = turn + len(waiting) if most is None else min(most, turn + len(waiting))
            question = waiting.pop(self._next(waiting))
            try:
                said = self._put(question, f"[{turn + 1} of {total}]")
            except SettledError as error:
                self.say(
                    f"{question.id} was {error.how} meanwhile in another interview; that is what "
                    "counts, nothing was added here, and this one goes on"
                )
                continue
            if said == QUIT:
                self.say("Stopped; what was answered is kept, and the same command goes on.")
                break
            turn += 1
            answered += said not in (SKIP, DONT_KNOW)
        return answered

    def scores_line(self) -> str:
        """Return how often each guesser was right, over all interviews with this program."""
        scores = self.commitments.scores()
        shown = [
            f"{name} {score.right} of {score.asked} right ({score.accuracy:.0%})"
            for name, score in scores.items()
        ]
        return f"so far: {', '.join(shown)}" if shown else "so far: nothing was answered"

    def _next(self, waiting: Mapping[str, Question]) -> str:
        if self.informative is None:
            return next(iter(waiting))
        asked = {answer.question for answer in self.person.kept.answers}
        # What was answered before may be asked again, and then tells nothing: it comes last.
        fresh = [id for id in waiting if id not in asked]
        return self.informative.next_question(asked, fresh) if fresh else next(iter(waiting))

    def _put(self, question: Question, place: str) -> str:
        """Guess, ask, and keep the answer; return it, or what was said in its place."""
        guess = self.commitments.waiting(question.id) or self._guess(question)
        country = self.person.kept.country
        self.say(f"\n{place} {question.id}: {plain_text(question.text_for(country))}")
        for option in question.options:
            self.say(f"  {option.code}: {plain_text(option.label)}")
        self.say(f"guess sealed at {guess.time[:19]}Z as sha256 {guess.digest}")
        said = self._said(question)
        if said == QUIT:
            return said
        if said == SKIP:
            self.commitments.withdraw(guess)
            self.say("skipped; the guess is withdrawn unopened and counts neither way")
            return said
        if said == DONT_KNOW:
            self.commitments.give_up(guess)
            self.say("noted as not known; the guess counts neither way, this is not asked again")
            return said
        self.commitments.settle(guess, question, said, self.source)
        self._reveal(question, guess, code_of(question, said))
        return said

    def _said(self, question: Question) -> str:
        while True:
            said = " ".join(self.ask(question).split())
            word = _SAID.get(said.casefold())
            if word is not None:
                return word
            try:
                code_of(question, said)
            except ConfigError:
                self.say(HOW)
                continue
            return said

    def _guess(self, question: Question) -> Commitment:
        case = self.person.case(question)
        codes: dict[str, int | None] = {}
        for name, program in self.guessers.items():
            try:
                codes[name] = int(program(case=case).answer)
            except InvalidAnswerError:
                codes[name] = None  # no answer is a wrong one
            except dspy.LMError as error:
                raise PredictionError(describe_error(error)) from error
        return self.commitments.commit(question.id, codes)

    def _reveal(self, question: Question, guess: Commitment, truth: int) -> None:
        self.say(f"answer {truth} ({plain_text(question.label(truth))})")
        for name, code in guess.codes.items():
            shown = "none" if code is None else f"{code} ({plain_text(question.label(code))})"
            self.say(f"  {name} guessed {shown}: {'right' if code == truth else 'wrong'}")
        sealed = sealed_text(guess.nonce, guess.question, guess.time, guess.codes)
        self.say(f"  the seal is of: {sealed}")
        self.say(self.scores_line())
