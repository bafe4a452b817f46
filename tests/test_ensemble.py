"""The ensemble: who votes, who speaks, what is shared, and that it is a program like others."""

import json
from typing import Any

import dspy
import pytest
from people import case, prompt_of, reply, scripted

from evals.baselines import RAG, Blank
from valuesim_dspy.ensemble import Ensemble, combined, vote_shares, without_member
from valuesim_dspy.errors import ConfigError, InvalidAnswerError, MissingDataError
from valuesim_dspy.program import ValueSim
from valuesim_dspy.retrieval import LexicalEmbedder, Retriever
from valuesim_dspy.survey.codebook import load_codebook

CODEBOOK = load_codebook()


def told_apart(count: int = 3, variant: str = "single") -> Ensemble:
    """Return an ensemble whose members can be told apart by their instructions."""
    members = [ValueSim(variant) for _ in range(count)]
    for number, member in enumerate(members, start=1):
        for predictor in member.predictors():
            text = f"{predictor.signature.instructions} You are copy {number}."
            predictor.signature = predictor.signature.with_instructions(text)
    return Ensemble(members)


def saying(*codes: int) -> Any:
    """Return what answers with the n-th code for the n-th copy."""

    def answer(request: Any) -> dict[str, Any]:
        prompt = prompt_of(request)
        number = next(n for n in range(1, len(codes) + 1) if f"copy {n}." in prompt)
        if "backstory" in prompt and "[[ ## answer ## ]]" not in prompt:
            return {"backstory": f"You are told of by copy {number}."}
        return reply(codes[number - 1], f"Copy {number} says so.")

    return answer


@pytest.mark.parametrize(
    ("codes", "answer", "speaker", "decision"),
    [
        ((2, 2, 2), 2, 1, "agreement"),
        ((1, 3, 3), 3, 2, "vote"),
        ((3, 1, 3), 3, 1, "vote"),
        ((4, 1, 2), 2, 3, "vote"),
    ],
)
def test_the_plurality_decides(
    codes: tuple[int, ...], answer: int, speaker: int, decision: str
) -> None:
    """A tie goes to the middle of the scale; the first who gave the answer speaks."""
    with scripted(saying(*codes)):
        told = told_apart()(case=case("Q69"))
    assert told.answer == answer and told.analysis == f"Copy {speaker} says so."
    assert told.decision == decision and told.status == "answered"
    assert told.views == {
        f"member_{n}": {"answer": code, "analysis": f"Copy {n} says so."}
        for n, code in enumerate(codes, start=1)
    }


def test_two_members_that_differ_take_the_lower_middle() -> None:
    """The rule is that of the project's vote: the option that stands first on the scale."""
    for codes in ((4, 1), (1, 4)):
        with scripted(saying(*codes)):
            answer = told_apart(2).predict(case("Q69")).answer
        assert answer == min(codes, key=CODEBOOK["Q69"].order.index)


def test_every_member_is_asked_once_for_a_case() -> None:
    """Three single calls, and no further one to decide."""
    with scripted(saying(1, 2, 3)) as engine:
        told_apart()(case=case())
    assert len(engine.requests) == 3


def test_the_first_backstory_is_shown() -> None:
    """Members that write one may write another; the prediction holds the first."""
    with scripted(saying(2, 2)):
        told = told_apart(2, "full")(case=case())
    assert told.backstory == "You are told of by copy 1."
    with scripted(saying(2, 2)):
        assert told_apart(2)(case=case()).backstory == ""
    parts = {
        "member_1": dspy.Prediction(answer=1, analysis="a", backstory=""),
        "member_2": dspy.Prediction(answer=1, analysis="b", backstory="A story."),
    }
    assert combined(CODEBOOK["Q69"], parts).backstory == "A story."


def test_a_member_that_fails_fails_the_case() -> None:
    """A failure is a failure: nobody votes for whom there is no answer."""
    with scripted(saying(1, 99, 1)), pytest.raises(InvalidAnswerError, match="99"):
        told_apart()(case=case())


@pytest.mark.parametrize("question", ["Q69", "Q164", "Q57"])
@pytest.mark.parametrize("votes", [[], [1], [1, 1, 2], [2, 2, 2, 2]])
def test_vote_shares_are_a_distribution(question: str, votes: list[int]) -> None:
    """Over all codes, in their order, none of them 0, ordered as the votes are."""
    shares = vote_shares(CODEBOOK[question], votes)
    assert tuple(shares) == CODEBOOK[question].codes
    assert sum(shares.values()) == pytest.approx(1.0) and min(shares.values()) > 0
    for one in shares:
        for other in shares:
            assert (shares[one] > shares[other]) == (votes.count(one) > votes.count(other))


def test_one_pseudo_vote_is_spread_over_the_options() -> None:
    """Three of three votes on ten options: (3 + 1/10) / 4 for the one, (1/10) / 4 for the rest."""
    shares = vote_shares(CODEBOOK["Q164"], [5, 5, 5])
    assert shares[5] == pytest.approx(3.1 / 4) and shares[6] == pytest.approx(0.1 / 4)


def test_predictions_carry_the_shares() -> None:
    """Two of three votes on four options."""
    with scripted(saying(1, 3, 3)):
        told = told_apart()(case=case("Q69"))
    assert told.probabilities == vote_shares(CODEBOOK["Q69"], [1, 3, 3])
    assert max(told.probabilities, key=told.probabilities.get) == told.answer


def test_members_are_at_least_two_copies_of_one_program() -> None:
    """Anything else is refused in a line that says what is wrong."""
    one = ValueSim("single")
    for members in ([], [one], [one, one]):
        with pytest.raises(ConfigError, match="two different members"):
            Ensemble(members)
    with pytest.raises(ConfigError, match="copies of one program") as caught:
        Ensemble([one, ValueSim("vote")])
    assert "valuesim single" in str(caught.value) and "valuesim vote" in str(caught.value)
    with pytest.raises(ConfigError, match="copies of one program"):
        Ensemble([RAG(), Blank()])
    with pytest.raises(ConfigError, match="no member of another"):
        Ensemble([told_apart(2), told_apart(2)])


def test_it_says_what_it_is() -> None:
    """Kind, variant and what its members are, for manifests and tables."""
    full, rag = told_apart(2, "full"), Ensemble([RAG(), RAG()])
    assert (full.kind, full.variant, full.member_kind, full.size) == (
        "ensemble",
        "full",
        "valuesim",
        2,
    )
    assert (rag.variant, rag.member_kind) == ("rag", "rag")
    assert full.knows == "cold" and rag.knows == "cold"
    assert Ensemble([ValueSim("peers"), ValueSim("peers")]).knows == "warm"


def test_predictors_bear_their_member_in_their_name() -> None:
    """Names that metrics and files can bear; the bare name is found again."""
    names = [name for name, _ in told_apart(2).named_predictors()]
    assert names == ["member_1.direct.answer", "member_2.direct.answer"]
    assert [without_member(name) for name in names] == ["direct.answer"] * 2
    assert without_member("panel.member_1.answer") == "panel.member_1.answer"
    assert without_member("direct.answer") == "direct.answer"


def test_binding_reaches_every_member() -> None:
    """An unbound member answers nothing; bound ones share what they are bound to."""
    retriever = Retriever(LexicalEmbedder(CODEBOOK))
    rag = Ensemble([RAG(), RAG()])
    with scripted(lambda request: reply(2)):
        with pytest.raises(MissingDataError, match="bound"):
            rag(case=case())
        assert rag.bind(retriever, k=2) is rag
        assert rag(case=case()).answer == 2
    assert [member.binding["k"] for member in rag.members] == [2, 2]
    assert rag.binding == rag.members[0].binding
    assert set(rag.inputs(case())) == set(rag.members[0].inputs(case()))


def test_what_members_do_not_have_it_does_not_have() -> None:
    """So that who looks for a binding or for what is read finds none."""
    bare = Ensemble([ValueSim("full"), ValueSim("full")])
    assert not hasattr(bare, "binding")


def test_copies_are_whole_and_apart() -> None:
    """A deep copy answers the same; a reset one has no demos; neither touches the original."""
    first = told_apart(2)
    demo = dspy.Example(question="Q", answer=1)
    first.members[1].direct.answer.demos = [demo]
    copy, bare = first.deepcopy(), first.reset_copy()
    assert json.dumps(copy.dump_state()) == json.dumps(first.dump_state())
    assert [p.demos for p in bare.predictors()] == [[], []]
    copy.members[0].direct.answer.demos = [demo]
    assert [len(p.demos) for p in first.predictors()] == [0, 1]
    with scripted(saying(2, 1)):
        assert dict(copy(case=case())) != {} and type(copy) is Ensemble


def test_traces_stand_in_the_order_of_the_members() -> None:
    """A trace names each member's predictor, so that teleprompters know whose step it is."""
    program = told_apart()
    with scripted(saying(3, 2, 1)), dspy.context(trace=[]):
        program(case=case())
        steps = [id(step[0]) for step in dspy.settings.trace]
    assert steps == [id(member.direct.answer) for member in program.members]
