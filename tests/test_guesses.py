"""Guessing at random: even, and the same for the same person and question."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from people import case

from evals.baselines import Uniform
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.survey.codebook import load_codebook

BOOK = load_codebook()


def asked(key: str, question: str = "Q1") -> Case:
    """One of many people, of whom nothing is known."""
    return Case(Profile(key, {}, BOOK), BOOK[question])


def test_every_option_is_as_likely() -> None:
    """Over 4,000 people each of four options is drawn about 1,000 times (5 sd are 137)."""
    counts = Counter(Uniform().code(asked(f"p{n}")) for n in range(4000))
    assert set(counts) == set(BOOK["Q1"].codes)
    assert max(abs(count - 1000) for count in counts.values()) < 137


def test_the_draw_depends_on_person_question_and_seed_alone() -> None:
    """Asked again the answer is the same; another person, question or seed draws anew."""
    people = [f"p{n}" for n in range(60)]
    first = [Uniform(1).code(asked(key)) for key in people]
    assert first == [Uniform(1).code(asked(key)) for key in people]
    assert first != [Uniform(2).code(asked(key)) for key in people]
    assert first != [Uniform(1).code(asked(key, "Q2")) for key in people]
    assert len(set(first)) > 1


def test_the_seed_is_the_study_s() -> None:
    """Bound to a study it draws with the job's seed."""
    study: Any = SimpleNamespace(config=SimpleNamespace(seed=7))
    assert Uniform().bind_to(study).seed == 7
    assert Uniform(7).code(case()) == Uniform().bind_to(study).code(case())
