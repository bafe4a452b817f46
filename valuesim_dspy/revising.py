"""Revising a backstory: what a person answered later is worked into the story there is.

The signature's docstring and descriptions are prompts, pinned by a golden file.
"""

from __future__ import annotations

from collections.abc import Sequence

import dspy
from dspy.utils.exceptions import AdapterParseError

from valuesim_dspy.case import Profile, facts_text, plain_text
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.modules import BackstoryWriter, chat_adapter
from valuesim_dspy.survey.facts import Fact

NOTHING_OUTDATED = "(everything it tells still holds)"


class ReviseBackstory(dspy.Signature):
    """Revise the backstory of one person by what they answered since it was written.

    The story speaks to the person as "you", in the present tense: go on in its voice. Work in
    every new fact where it belongs, exactly as strong as it was given: "quite" never becomes
    "very", and a place on a scale stays at its number. Where a new fact overturns what the story
    tells, the new fact rules: say how the person stands now, and let nothing of the old answer
    remain. Keep all else that the story tells, as strong as it is told, and let tensions between
    facts stand. Invent no event, name, opinion or change of heart that neither the story nor the
    facts carry. Write plain paragraphs, without headings or lists.
    """

    backstory: str = dspy.InputField(desc="the person's story so far")
    outdated: str = dspy.InputField(desc="what of it no longer holds, one fact a line")
    facts: str = dspy.InputField(
        desc="what this person answered since, one fact a line, addressed to them as you"
    )
    revised: str = dspy.OutputField(desc="the whole revised story, in the second person")


class BackstoryReviser(dspy.Module):
    """Bring a person's backstory up to date, in one call; the first one is written.

    Args:
        writer: Writes a story where there is none; that of a program, compiled or not.
    """

    def __init__(self, writer: BackstoryWriter | None = None) -> None:
        super().__init__()
        self.writer = writer if writer is not None else BackstoryWriter()
        self.revised = dspy.Predict(ReviseBackstory)

    def forward(self, profile: Profile, new: Sequence[Fact], outdated: Sequence[Fact] = ()) -> str:
        """Return the story.

        Args:
            profile: All that is now known; its `story`, if any, is the one to revise.
            new: The facts of the profile that its story does not tell.
            outdated: Facts that the story tells and that hold no longer.

        Raises:
            PredictionError: The reply holds no story.
        """
        if profile.story is None or not new:
            return self.writer(profile=profile)
        told = facts_text(outdated) if outdated else NOTHING_OUTDATED
        adapter = dspy.settings.adapter or chat_adapter()
        try:
            with dspy.context(trace=None, adapter=adapter):
                prediction = self.revised(
                    backstory=plain_text(profile.story),
                    outdated=told,
                    facts=facts_text(new),
                    config={"max_tokens": self.writer.room()},
                )
        except AdapterParseError as error:
            raise PredictionError("the reply to the request for a revision holds none") from error
        if not prediction.revised.strip():
            raise PredictionError("the revised backstory that came back is empty")
        return str(prediction.revised)
