"""The variants: what each reads and in which order, and that each is one line."""

import dspy
import pytest
from people import ANSWERS, case, person

from valuesim_dspy.case import Case, HistoryItem
from valuesim_dspy.signatures import (
    PERSPECTIVES,
    AnswerDirectly,
    DecideAmongViews,
    DecideAnswer,
    ReadBehaviorally,
)
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.variants import DECISIONS, VARIANTS, Variant, ordered_facts

WHOLE = set(ReadBehaviorally.input_fields)


@pytest.mark.parametrize(
    ("variant", "missing"),
    [
        ("facts-only", {"backstory"}),
        ("backstory-only", {"facts", "habits"}),
        ("full", set()),
    ],
)
def test_what_is_not_read_is_not_asked_for(variant: str, missing: set[str]) -> None:
    """A signature loses the inputs a variant leaves out; habits go with the facts."""
    assert WHOLE - set(VARIANTS[variant].readers["behavioral"].input_fields) == missing


def test_the_order_of_inputs_keeps_a_common_prefix() -> None:
    """Person first, question and options last, whatever the perspective."""
    for signature in (*PERSPECTIVES.values(), DecideAnswer, AnswerDirectly):
        names = list(signature.input_fields)
        assert names[0] == "facts"
        assert names.index("history") < names.index("question") < names.index("options")


def test_every_variant_says_what_it_is() -> None:
    """Names are keys, descriptions are single lines, decisions and perspectives are known."""
    for name, variant in VARIANTS.items():
        assert variant.name == name and variant.what and "\n" not in variant.what
        assert variant.decide in ("coordinator", "weighted-vote", *DECISIONS)
        assert set(variant.perspectives) <= set(PERSPECTIVES)


def test_every_ablation_changes_one_thing_or_says_so() -> None:
    """No two variants are the same program under two names."""
    switches = [{**vars(v), "name": "", "what": ""} for v in VARIANTS.values()]
    assert all(a != b for i, a in enumerate(switches) for b in switches[i + 1 :])


def test_peers_stand_before_the_question_for_every_reader() -> None:
    """What similar people answered is evidence: behind the person, before what is asked."""
    spec = VARIANTS["peers"]
    for signature in (*spec.readers.values(), spec.coordinator, VARIANTS["single-peers"].direct):
        names = list(signature.input_fields)
        assert names.index("peers") == names.index("question") - 1
    assert spec.knows == "warm" and VARIANTS["full"].knows == "cold"


def test_the_coordinator_reads_records_last_and_is_told_what_for() -> None:
    """Records are an input of a variant of its own: `full` keeps its prompt."""
    wide, plain = VARIANTS["full-records"].coordinator, VARIANTS["full"].coordinator
    assert list(wide.input_fields)[-2:] == ["views", "records"]
    assert wide.instructions.startswith(plain.instructions) and "record" in wide.instructions
    assert "records" not in plain.input_fields and "record says" not in plain.instructions


def test_a_second_reading_knows_the_first_ones() -> None:
    """Perspectives that read each other keep their side and get one input more."""
    spec = VARIANTS["interaction"]
    for name, signature in spec.second_readers.items():
        assert set(signature.input_fields) - set(spec.readers[name].input_fields) == {"views"}
        assert signature.instructions.startswith(PERSPECTIVES[name].instructions)


def test_a_blind_coordinator_sees_nothing_of_the_person() -> None:
    """Only question, options and views are read, and the instructions claim no more."""
    assert VARIANTS["coordinator-blind"].coordinator is DecideAmongViews
    assert list(DecideAmongViews.input_fields) == ["question", "options", "views"]


def test_an_answer_alone_is_asked_of_everybody() -> None:
    """Without analysis neither readers nor coordinator write one."""
    spec = VARIANTS["answer-only"]
    for signature in (*spec.readers.values(), spec.coordinator):
        assert list(signature.output_fields) == ["answer"]
    blind = Variant("x", "x", person=False, analysis=False)
    assert list(blind.coordinator.output_fields) == ["answer"]


def test_response_style_can_be_read_by_one_direct_answer() -> None:
    """`single-habits` reads what the behavioral perspective reads, in one call."""
    assert "habits" in VARIANTS["single-habits"].direct.input_fields
    assert "habits" not in AnswerDirectly.input_fields
    assert set(VARIANTS["behavioral-facts"].readers["behavioral"].input_fields) == set(
        VARIANTS["single-habits"].direct.input_fields
    )


def test_facts_keep_their_words_in_any_order() -> None:
    """Orders move whole facts and lose none; shuffling is the same for all of a person."""
    asked = case("Q69")
    plain = ordered_facts(asked, "codebook").splitlines()
    assert ordered_facts(asked, "reversed").splitlines() == plain[::-1]
    for order in ("shuffled", "nearest-last"):
        found = ordered_facts(asked, order).splitlines()
        assert found != plain and sorted(found) == sorted(plain)
    assert ordered_facts(asked, "shuffled") == ordered_facts(case("Q57"), "shuffled")


def test_the_nearest_fact_comes_last() -> None:
    """A question on confidence finds a fact on confidence just before it."""
    nearest = ordered_facts(case("Q69"), "nearest-last").splitlines()[-1]
    assert "confidence" in nearest and "Q64" in ANSWERS and "Q65" in ANSWERS


def test_history_can_be_left_out_of_all_that_is_read() -> None:
    """Neither the list of later answers nor the counts of habits know of the history."""
    codebook = load_codebook()
    late = Case(person(), codebook["Q69"], (HistoryItem(codebook["Q66"], 4),))
    early = Case(person(), codebook["Q69"])
    assert VARIANTS["no-history"].inputs(late) == VARIANTS["full"].inputs(early)
    assert VARIANTS["full"].inputs(late) != VARIANTS["full"].inputs(early)


def test_full_asks_as_it_was_released() -> None:
    """The switches of ablations leave the released signatures themselves in `full`."""
    spec = VARIANTS["full"]
    assert spec.coordinator is DecideAnswer
    assert all(spec.readers[name] is PERSPECTIVES[name] for name in spec.perspectives)
    assert issubclass(VARIANTS["single"].direct, dspy.Signature)
    assert VARIANTS["single"].direct is AnswerDirectly
