"""One's own person: a profile made from a few answers, in Python or from a small TOML file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from valuesim_dspy.case import Profile
from valuesim_dspy.errors import ConfigError, shown
from valuesim_dspy.free_text import check_length
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.toml_files import read_toml

_PERSON_KEYS = ("country", "answers", "facts", "story")


def own_profile(
    answers: Mapping[str, int | str],
    *,
    country: str | None = None,
    statements: Sequence[str] = (),
    story: str | None = None,
    codebook: Codebook | None = None,
) -> Profile:
    """Make a profile of one's own person.

    Args:
        answers: Question id to a code or to an option's label.
        country: ISO 3166 alpha-3 code.
        statements: Further facts in the second person ("You keep bees."), each shown as what
            was told, whatever stands in it.
        story: A backstory to use as it is.
        codebook: What the question ids mean; wave 7 by default.

    Raises:
        ConfigError: A question is unknown, an answer is none of its options, or a text is too
            long.
    """
    codebook = codebook or load_codebook()
    if isinstance(statements, str):
        raise ConfigError("must be a list of texts", key="facts")
    for key, text in [("facts", text) for text in statements] + [("story", story or "")]:
        check_length(text, key)
    if country is not None and country not in list(codebook.countries):
        raise ConfigError(
            "is no ISO alpha-3 code of the codebook; leave it out or write, say, JPN",
            key="country",
            value=country,
        )
    codes = {qid: _code_of(qid, value, codebook) for qid, value in answers.items()}
    content = json.dumps([sorted(codes.items()), country, list(statements), story])
    key = hashlib.sha256(content.encode()).hexdigest()[:12]
    return Profile(key, codes, codebook, country, "own", tuple(statements), story)


def _code_of(qid: str, value: int | str, codebook: Codebook) -> int:
    if qid not in codebook.questions:
        raise ConfigError(f"the codebook {codebook.id} has no such question", key=f"answers.{qid}")
    question = codebook[qid]
    if isinstance(value, str):
        named = [o.code for o in question.options if o.label.casefold() == value.casefold()]
        if named:
            return named[0]
    elif isinstance(value, int) and (not question.options or value in question.codes):
        return int(value)
    raise ConfigError(
        f"{shown(value)} is not an option of this question",
        key=f"answers.{qid}",
        allowed=[f"{option.code} ({option.label})" for option in question.options],
    )


def read_person(path: Path, *, without: str = "", codebook: Codebook | None = None) -> Profile:
    """Read one's own person from a TOML file.

    Its keys, all optional: `country` (ISO alpha-3), `answers` (a table of question id to code or
    label), `facts` (further facts in the second person), `story` (a backstory to use as it is).

    Args:
        path: The file.
        without: A question whose answer is left out.
        codebook: What the question ids mean; wave 7 by default.

    Raises:
        MissingDataError: There is no such file.
        ConfigError: It is no TOML, a key is unknown, or an answer does not fit.
    """
    tables = read_toml(path, "write one: see the README")
    for key in tables:
        if key not in _PERSON_KEYS:
            raise ConfigError("unknown key", key=shown(key), allowed=_PERSON_KEYS)
    answers, facts = tables.get("answers", {}), tables.get("facts", [])
    if not isinstance(answers, dict) or not _texts(facts):
        raise ConfigError("`answers` must be a table and `facts` a list of texts", key=str(path))
    if not isinstance(tables.get("story", ""), str):
        raise ConfigError("must be a text", key="story")
    return own_profile(
        {qid: value for qid, value in answers.items() if qid != without},
        country=tables.get("country"),
        statements=facts,
        story=tables.get("story"),
        codebook=codebook,
    )


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
