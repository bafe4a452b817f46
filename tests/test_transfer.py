"""Transfer by meaning: what it reads, what it learns, and that it never sees the target."""

import copy
from typing import Any

import dspy
import numpy as np
import pytest
from crowds import SALT, case_of, crowd, fold, target

from evals.baselines import BASELINES, BatteryMean, EmbeddingTransfer, Guesser
from valuesim_dspy.case import Case, make_cases
from valuesim_dspy.errors import PredictionError
from valuesim_dspy.own import own_profile
from valuesim_dspy.retrieval import LexicalEmbedder
from valuesim_dspy.survey.codebook import load_codebook
from valuesim_dspy.survey.question import Question
from valuesim_dspy.survey.respondents import Respondents

BOOK = load_codebook()
TRAIN, TOLD = range(60), range(60, 90)


class Counting:
    """An embedder for tests that counts texts; a text is near to those with the same topic word."""

    name, semantic = "counting", True

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Any) -> Any:
        """Return one row for each text."""
        self.texts += texts
        words = ("trust", "important", "god", "work", "woman", "democra")
        rows = [[float(word in text.lower()) for word in words] + [0.05] for text in texts]
        return np.asarray(rows, dtype=np.float32)


def made(people: Respondents, embedder: Any = None, targets: int | None = 3) -> EmbeddingTransfer:
    """The arm, fitted on the first sixty."""
    examples = make_cases(people, TRAIN, fold(), "train", max_targets=targets)
    return EmbeddingTransfer(
        embedder or LexicalEmbedder(BOOK), people.take(TRAIN), examples, fold().profile
    )


@pytest.fixture(scope="module")
def people() -> Respondents:
    """Two camps that answer everything low or high."""
    return crowd(90)


def places(arm: Guesser, people: Respondents) -> list[float]:
    """Where on the target's scale the arm puts everyone told."""
    order = target().order
    return [order.index(arm.code(case_of(people, at, target()))) / (len(order) - 1) for at in TOLD]


def test_a_person_s_own_positions_are_carried_over(people: Respondents) -> None:
    """Who answers high elsewhere is put high: the two camps are told apart."""
    found = np.array(places(made(people), people))
    low, high = found[::2].mean(), found[1::2].mean()
    assert low < 0.45 < 0.55 < high


def test_nobody_s_answer_to_the_target_is_seen() -> None:
    """Everybody's answers to all dev targets turned round: cold arms answer as before."""
    before, other = crowd(90), crowd(90, flipped=target().id)
    changed = before.column(target().id) != other.column(target().id)
    assert changed.mean() > 0.5
    for arm in (made(before), BatteryMean()):
        after = made(other) if isinstance(arm, EmbeddingTransfer) else arm
        assert places(arm, before) == places(after, other)


def test_the_embedder_reads_questions_and_the_person_s_facts_never_answers_to_targets(
    people: Respondents,
) -> None:
    """For an ordered question the texts are those of questions, each once."""
    embedder = Counting()
    arm = made(people, embedder)
    first = [arm.code(case_of(people, at, target())) for at in TOLD]
    assert len(embedder.texts) == len(set(embedder.texts))
    assert set(embedder.texts) <= {f"{question.topic}. {question.text}" for question in BOOK}
    assert first == [arm.code(case_of(people, at, target())) for at in TOLD]


def test_evidence_by_hand() -> None:
    """Means over the nearest, over like scales, over all; the person's and the others'."""
    near, far = BOOK["Q64"], BOOK["Q164"]
    others = Respondents.from_columns(
        questions={"Q64": np.array([1, 4, 4]), "Q164": np.array([1, 1, -1])}
    )
    arm = EmbeddingTransfer(Counting(), others, [], ("Q64", "Q164"))
    asked = Case(own_profile({"Q64": 1, "Q164": 10}), BOOK["Q65"])
    one, two = near.position(1), far.position(10)
    assert (one, two) == (1.0, 1.0) and near.topic != far.topic
    evidence = arm.evidence(asked)
    assert evidence[0] == one and evidence[1] == pytest.approx(1 / 3)
    assert evidence[6] == one and evidence[7] == pytest.approx(1 / 3), "four places, like Q65"
    assert evidence[8] == 1.0 and evidence[9] == pytest.approx((1 / 3 + 0) / 2), "all of them"
    assert evidence[11] == pytest.approx(evidence[10] * (1 - 1 / 3))


def test_of_nobody_known_the_evidence_is_the_middle(people: Respondents) -> None:
    """A person without answers has evidence of the same length, and an answer."""
    nobody = Case(own_profile({}), target())
    arm = made(people)
    evidence = arm.evidence(nobody)
    assert evidence.shape == arm.evidence(case_of(people, 61, target())).shape
    assert set(evidence) == {0.0, 0.5}
    assert arm.code(nobody) in target().order


def test_a_nominal_question_takes_the_option_nearest_to_the_facts() -> None:
    """The option that speaks of what the facts speak of; without facts the first."""
    arm = EmbeddingTransfer(Counting(), crowd(4), [], ())
    asked = Question("What comes first?", ["leisure", "god", "money"], scale_kind="nominal")
    believer = own_profile({}, statements=["You pray to God."])
    worker = own_profile({}, statements=["You work."])
    assert arm.code(Case(believer, asked)) == 2
    assert arm.code(Case(worker, asked)) == 1, "a tie goes to the first option"
    assert arm.code(Case(own_profile({}), asked)) == 1


def test_without_a_trainset_it_fails_the_case(people: Respondents) -> None:
    """There is nothing to learn the weights from."""
    arm = EmbeddingTransfer(LexicalEmbedder(BOOK), people, [], fold().profile)
    with pytest.raises(PredictionError, match="trainset"):
        arm.code(case_of(people, 1, target()))


def test_what_is_learned_is_learned_of_train_targets(people: Respondents) -> None:
    """Train answers turned round turn the answer round: the weights come from them."""
    arm = made(people)
    turned = [
        dspy.Example(case=e.case, answer=order[len(order) - 1 - order.index(e.answer)])
        for e in arm._source.examples
        if e.answer in (order := e.case.question.order)
    ]
    other = EmbeddingTransfer(LexicalEmbedder(BOOK), people.take(TRAIN), turned, fold().profile)
    found, against = np.array(places(arm, people)), np.array(places(other, people))
    assert np.corrcoef(found, against)[0, 1] < -0.5


def test_copies_share_people_and_vectors(people: Respondents) -> None:
    """A copy holds no second set of either, and answers alike."""
    arm = made(people)
    arm.code(case_of(people, 61, target()))
    twin: Any = copy.deepcopy(arm)
    assert twin._source is arm._source and twin._vectors is arm._vectors
    assert places(twin, people) == places(arm, people)


def test_the_study_gives_its_trainset_and_embedder(people: Respondents) -> None:
    """The registry's line reads train people, train examples and the profile's questions."""
    from types import SimpleNamespace

    examples = make_cases(people, TRAIN, fold(), "train", max_targets=1)
    study: Any = SimpleNamespace(
        retriever=SimpleNamespace(embedder=LexicalEmbedder(BOOK)),
        respondents=people,
        split=SimpleNamespace(train=tuple(TRAIN)),
        examples=lambda role: {"train": examples}[role],
        fold=fold(),
    )
    built: Any = BASELINES["embedding-transfer"].build(study)
    assert set(built._source.means) <= set(fold().profile) and built._source.means
    assert {e.case.profile.key for e in built._source.examples} <= {
        people[at].key(people.digest) for at in TRAIN
    }
    assert people.digest != SALT
