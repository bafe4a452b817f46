"""One question of a survey: its options, their order, its wording and the facts it gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.free_text import LONGEST, plain_text
from valuesim_dspy.survey.scales import (
    ORDERED_KINDS,
    Option,
    as_options,
    default_poles,
    scale_flaws,
)
from valuesim_dspy.survey.wording import Wording

KINDS = (
    "value",
    "attitude",
    "behaviour",
    "perception",
    "experience",
    "knowledge",
    "demographic",
)


@dataclass(frozen=True, init=False)
class Question:
    """One question, from a codebook or made by a user.

    Args:
        text: The question as put to a person of unknown country.
        options: Labels (coded 1, 2, ..), labels by code, or `Option`s.
        id: "Q57"; by default "own-" and 8 hex digits of the sha256 of text, options and order.
        scale_kind: One of `SCALE_KINDS`; by default binary for two options, open for none,
            else ordinal.
        order: On-scale codes from least to most; by default the codes as listed.
        poles: How the least and the most end read; by default their lower-case labels.
        kind: One of `KINDS`.
        section: The topic area it belongs to.
        battery: The questions it is asked together with, on one scale.
        scale: The name of its scale.
        topic: A short noun phrase; by default the text.
        twins: Ids of questions that nearly repeat this one.
        scorable: Whether a prediction can be scored on its options.
        private: Whether answers become facts only when asked for.
        missing: Kind of missing by negative code.
        recode: For codes of missing answers that are not negative in the file: the one in
            `missing` that each is kept under.
        wording: Templates that depend on code or country; `text` wins over its `ask`.

    Raises:
        SurveyDataError: The text, the options, the order or the poles do not fit.
    """

    id: str
    text: str
    options: tuple[Option, ...] = field(repr=False)
    scale_kind: str = field(repr=False)
    order: tuple[int, ...] = field(repr=False)
    poles: tuple[str, str] | None = field(repr=False)
    kind: str = field(repr=False)
    section: str = field(repr=False)
    battery: str = field(repr=False)
    scale: str = field(repr=False)
    topic: str = field(repr=False)
    twins: tuple[str, ...] = field(repr=False)
    scorable: bool = field(repr=False)
    private: bool = field(repr=False)
    missing: Mapping[int, str] = field(repr=False)
    recode: Mapping[int, int] = field(repr=False)
    wording: Wording = field(repr=False)

    def __init__(
        self,
        text: str,
        options: Sequence[str | Option] | Mapping[int, str] = (),
        *,
        id: str | None = None,
        scale_kind: str | None = None,
        order: Sequence[int] | None = None,
        poles: tuple[str, str] | None = None,
        kind: str = "attitude",
        section: str = "own",
        battery: str = "own",
        scale: str = "own",
        topic: str | None = None,
        twins: Sequence[str] = (),
        scorable: bool = True,
        private: bool = False,
        missing: Mapping[int, str] | None = None,
        recode: Mapping[int, int] | None = None,
        wording: Wording | None = None,
    ) -> None:
        listed = as_options(options)
        scale_kind = scale_kind or {0: "open", 2: "binary"}.get(len(listed), "ordinal")
        if order is None:
            order = [option.code for option in listed] if scale_kind in ORDERED_KINDS else ()
        id = id or _own_id(text, listed, scale_kind, order)
        if not plain_text(text):
            raise SurveyDataError("a question needs a text", column=id)
        if max(len(text), *(len(option.label) for option in listed), 0) > LONGEST:
            message = f"at most {LONGEST} characters are read of a question or a label"
            raise SurveyDataError(message, column=id)
        if kind not in KINDS:
            allowed = ", ".join(KINDS)
            raise SurveyDataError(f"unknown kind; allowed: {allowed}", column=id, value=kind)
        for flaw in scale_flaws(scale_kind, listed, order, poles):
            raise SurveyDataError(flaw.message, column=f"{id}.{flaw.key}", value=flaw.value)
        wording = wording or Wording(ask=text, facts=_plain_facts(text, listed))
        # frozen: the fields are set once, here, past the generated __setattr__
        vars(self).update(
            id=id,
            text=text,
            options=tuple(sorted(listed, key=lambda option: option.code)),
            scale_kind=scale_kind,
            order=tuple(order),
            poles=poles or default_poles(order, listed),
            kind=kind,
            section=section,
            battery=battery,
            scale=scale,
            topic=topic or text,
            twins=tuple(twins),
            scorable=scorable and bool(listed),
            private=private,
            missing=dict(missing or {}),
            recode=dict(recode or {}),
            wording=wording if wording.ask_in(None) == text else replace(wording, ask=text),
        )

    def __hash__(self) -> int:
        return hash(self.id)

    def __copy__(self) -> Question:
        return self

    def __deepcopy__(self, memo: object) -> Question:
        return self  # it is frozen: copies of cases share it

    @property
    def codes(self) -> tuple[int, ...]:
        """The codes of the options, ascending."""
        return tuple(option.code for option in self.options)

    @property
    def direction(self) -> int:
        """+1 where larger codes mean more, -1 where less, 0 where neither or no order."""
        ascending = sorted(self.order)
        if not ascending:
            return 0
        if list(self.order) == ascending:
            return 1
        return -1 if list(self.order) == ascending[::-1] else 0

    @property
    def default_id(self) -> str:
        """The id that it has where none is given."""
        return _own_id(self.text, self.options, self.scale_kind, self.order)

    @property
    def former_id(self) -> str:
        """The default id in older stores, which questions of one text and other options shared."""
        return _short(self.text)

    @property
    def gives_facts(self) -> bool:
        """Whether an answer can be told as a fact at all."""
        return bool(self.wording.facts or self.wording.open_fact)

    def has_code(self, code: int) -> bool:
        """Whether the code is one of the options'."""
        return any(option.code == code for option in self.options)

    def label(self, code: int) -> str:
        """The label of a code.

        Raises:
            SurveyDataError: The question has no such code.
        """
        for option in self.options:
            if option.code == code:
                return option.label
        raise self._unknown(code)

    def position(self, code: int) -> float | None:
        """Where a code stands between least (0.0) and most (1.0).

        Returns:
            The rank of the code among the on-scale codes, in [0, 1]; None for a code that is
            off the scale and for a question without order.

        Raises:
            SurveyDataError: The question has no such code.
        """
        self.label(code)
        if code not in self.order:
            return None
        return self.order.index(code) / (len(self.order) - 1)

    def text_for(self, country: str | None) -> str:
        """The question as asked in a country (alpha-3; None or unknown: "your country")."""
        return self.wording.ask_in(country)

    def fact_text(self, code: int, country: str | None = None) -> str:
        """The sentence that tells a person that they gave this answer.

        Args:
            code: The answer; for an open question any number of 0 or more.
            country: The person's country, alpha-3.

        Raises:
            SurveyDataError: The question has no such code, or its answers are never facts.
        """
        if self.options:
            self.label(code)
        elif code < 0:
            raise self._unknown(code)
        text = self.wording.fact_in(code, country)
        if text is None:
            raise SurveyDataError("answers to this question are never facts", column=self.id)
        return text

    def reworded(self, wording: Wording, options: Sequence[Option]) -> Question:
        """The same question in other words: the same codes, order, poles and topic.

        Raises:
            SurveyDataError: The labels are empty, or two of them are the same.
        """
        kept = {item.name: getattr(self, item.name) for item in fields(self)}
        changed = {"text": wording.ask_in(None), "options": options, "wording": wording}
        return Question(**{**kept, **changed})

    def content(self) -> dict[str, object]:
        """All that the question says, as plain values: what digests are made of."""
        shown = {item.name: getattr(self, item.name) for item in fields(self)}
        wording, recode = shown.pop("wording"), shown.pop("recode")
        shown["options"] = [[option.code, option.label] for option in self.options]
        return {
            **shown,
            **({"recode": {str(code): kept for code, kept in recode.items()}} if recode else {}),
            "missing": {str(code): name for code, name in self.missing.items()},
            "ask": wording.ask,
            "facts": [[code, wording.facts[code]] for code in sorted(wording.facts)],
            "open_fact": wording.open_fact,
            "by_country": wording.by_country,
        }

    def _unknown(self, code: int) -> SurveyDataError:
        codes = ", ".join(str(known) for known in self.codes) or "none, it is open"
        return SurveyDataError(f"no such code; codes: {codes}", column=self.id, value=code)


def _plain_facts(text: str, options: Sequence[Option]) -> dict[int, str]:
    return {item.code: f'Asked "{text}", you answered "{item.label}".' for item in options}


def _own_id(text: str, options: Sequence[Option], kind: str, order: Sequence[int]) -> str:
    """The id of a question that is given none: of all that its codes get their meaning from."""
    labels = sorted([str(option.code), option.label] for option in options)
    return _short(json.dumps([text, labels, kind, [str(code) for code in order]]))


def _short(text: str) -> str:
    # A text from outside may hold half a character, which UTF-8 has no bytes for.
    return "own-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
