"""Facts read as good English, say what was answered, and never tell what is private."""

from __future__ import annotations

import re

import pytest

from valuesim_dspy.errors import SurveyDataError
from valuesim_dspy.lexical.parsing import Option
from valuesim_dspy.lexical.scales import DEGREE, place
from valuesim_dspy.lexical.text import read_passage, stems
from valuesim_dspy.survey.codebook import Codebook, Question, UnknownQuestionError, load_codebook
from valuesim_dspy.survey.facts import COUNTRY, Fact, country_fact, make_fact, make_facts

CODEBOOK = load_codebook()
OPEN_CODES = {"Q261": (1931, 1972, 2004), "Q262": (18, 45, 93)}
FACTS = [
    make_fact(question, code, country)
    for question in CODEBOOK
    if question.gives_facts
    for code in question.codes or OPEN_CODES.get(question.id, (392, 840, 9999))
    for country in (None, "JPN", "USA", "NLD")
]


TOPIC_IS_IMPLIED = ("Q173", "Q260", "Q269", "Q273", "Q279", "Q281")  # as in "You are female"


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    """The packaged codebook."""
    return CODEBOOK


def offenders(pattern: str) -> list[str]:
    """The sentences in which a pattern is found."""
    return sorted({fact.text for fact in FACTS if re.search(pattern, fact.text)})


def test_all_questions_but_three_give_facts(codebook: Codebook) -> None:
    """Only the questions with unlabelled codes of each country's own give none."""
    silent = [question.id for question in codebook if not question.gives_facts]
    assert silent == ["Q223", "Q272", "Q290"]
    assert len(FACTS) > 4 * 1400


def test_facts_start_with_a_capital_and_end_with_a_full_stop() -> None:
    """Each fact has the outside of a sentence."""
    assert offenders(r"^[^A-Z]") == []
    assert offenders(r"[^.]$") == []
    assert offenders(r"\.\.$") == []


def test_facts_are_one_sentence() -> None:
    """A full stop, a question mark or a line break ends a fact, never parts it."""
    assert offenders(r"(?<!etc)[.?!][\"')]* +[A-Z]") == []
    assert offenders(r"\n") == []


def test_facts_speak_to_the_person() -> None:
    """Every fact is in the second person."""
    assert [
        fact.text for fact in FACTS if not re.search(r"\b[Yy]ou(r|rs|rself)?\b", fact.text)
    ] == []
    assert offenders(r"\b(I|my|me|we|us|our|he|she|respondent)\b") == []


def test_facts_are_filled_and_clean() -> None:
    """No placeholder, double space, doubled word or bad punctuation is left."""
    assert offenders(r"[{}]") == []
    assert offenders(r"  |^ | $") == []
    assert offenders(r"\b(a|an|the|your|of|to|in|that|is|you)\s+\1\b") == []
    assert offenders(r"\b[Yy]our (the|a|an|your)\b") == []
    assert offenders(r" [,.;)]|\( |,,|,\.|\bNone\b") == []


def test_articles_agree_with_the_word_after() -> None:
    """ "a" stands before consonants, "an" before vowels."""
    assert offenders(r"\b[Aa] [aeio]\w+") == []
    assert offenders(r"\b[Aa]n [bcdfgjklmnpqrstvwxyz]\w+") == []


def test_facts_are_short() -> None:
    """A fact has at most 45 words, and about 20 on average."""
    lengths = [len(fact.text.split()) for fact in FACTS]
    assert max(lengths) <= 45
    assert sum(lengths) / len(lengths) < 25


STRENGTHS = re.compile(
    "strongly|completely|neither|very|quite|rather|fairly|not|never|rarely|sometimes|often|always|"
    "usually|frequently|occasionally|definitely|probably|few|most|all|daily|weekly|monthly|less|"
    "more|only|once|several"
)


@pytest.mark.parametrize("country", [None, "JPN"])
def test_two_codes_never_give_the_same_sentence(codebook: Codebook, country: str | None) -> None:
    """All facts of the codebook are different, so none can be taken for another."""
    texts = [
        question.fact_text(code, country)
        for question in codebook
        if question.gives_facts
        for code in question.codes
    ]
    assert sorted({text for text in texts if texts.count(text) > 1}) == []


def test_strong_answers_never_read_like_plain_ones(codebook: Codebook) -> None:
    """Where an option is "strongly" or "very", its fact says so, and the others' do not."""
    for question in codebook:
        for option in question.options:
            first = option.label.lower().split()[0]
            if STRENGTHS.fullmatch(first) and question.scale_kind == "ordinal":
                text = question.fact_text(option.code).lower()
                said = re.search(rf"\b{first}\b", text)
                assert said or str(option.code) in text, (question.id, text)


def test_a_matcher_finds_the_option_that_a_fact_tells(codebook: Codebook) -> None:
    """Read without the question, facts lead to their own option, hardly ever to another.

    The four of the misled that are told in the codebook's own way set one thing against another
    and so name both; "very much about" is what the matcher itself misreads. Phrases of degree
    alone, such as a plain "not", are weak evidence to it and do not count here.
    """
    told, misled = 0, set()
    for question in codebook:
        options = tuple(Option(str(each.code), each.label) for each in question.options)
        for rank, option in enumerate(question.options if question.gives_facts else ()):
            sentence = read_passage(question.fact_text(option.code, "JPN")).sentences[0]
            found = place(sentence, options)
            told += found is not None and round(found.rank) == rank
            if found is not None and found.how != DEGREE and round(found.rank) != rank:
                misled.add((question.id, option.code))
    assert misled == {("Q142", 1), ("Q149", 1), ("Q150", 1), ("Q174", 2), ("Q175", 1)}
    assert told / sum(len(question.options) for question in codebook) > 0.94


def test_facts_name_their_topic(codebook: Codebook) -> None:
    """Each fact shares a content word with its question's topic: it is understood in a list."""
    for question in codebook:
        topic = stems(question.topic)
        for code in question.codes if question.gives_facts else ():
            told = stems(question.fact_text(code))
            assert topic & told or question.id in TOPIC_IS_IMPLIED, (question.id, code)


def test_ten_point_facts_say_the_number_and_both_poles(codebook: Codebook) -> None:
    """A position on a scale of ten is told with its number and what both ends mean."""
    for question in codebook:
        if len(question.order) == 10:
            assert question.poles is not None
            for code in question.order:
                text = question.fact_text(code)
                assert re.search(rf"\b{code}\b", text), text
                assert all(re.search(rf"\b{end}\b", text) for end in (1, 10)), text
                assert all(pole in text for pole in question.poles), (question.id, text)


def test_the_country_is_named_where_it_is_known() -> None:
    """{country} is filled with the name, and with "your country" where it is not known."""
    question = CODEBOOK["Q269"]
    assert question.fact_text(1, "USA") == "You are a citizen of the United States."
    assert question.fact_text(1) == "You are a citizen of your country."
    assert offenders(r"your (Japan|the United States|the Netherlands)") == []


SAMPLES = {
    ("Q1", 1): "Family is very important in your life.",
    ("Q8", 1): "Asked to choose up to five qualities for children to learn at home, you named "
    "independence as important.",
    ("Q8", 2): "Asked to choose up to five qualities for children to learn at home, you did not "
    "mention independence.",
    ("Q22", 2): "Asked which groups of people you would not want as neighbours, you did not "
    "mention homosexuals.",
    ("Q34", 3): "You neither agree nor disagree that employers in Japan should put the country's "
    "own people before immigrants when jobs are scarce.",
    ("Q43", 2): "If in the near future work became less important in people's lives, you would "
    "say that you don't mind either way.",
    ("Q49", 5): "Your satisfaction with your life on the whole is at 5 on a scale from 1 "
    "(completely dissatisfied) to 10 (completely satisfied).",
    ("Q51", 4): "In the past year, it has never happened that you or your family went without "
    "enough food.",
    ("Q91", 3): "Asked which of three countries has no permanent seat on the UN Security Council, "
    "you answered India.",
    ("Q94", 0): "You do not belong to a church or religious organisation.",
    ("Q111", 3): "Asked whether protecting the environment or economic growth should come first, "
    "you gave another answer than these two.",
    ("Q113", 2): "Of the state authorities in Japan, you believe that few of them are involved in "
    "corruption.",
    ("Q119", 0): "You find it hard to say whether women are, on the whole, less corrupt than men.",
    ("Q122", 1): "You find it hard to say whether immigration in Japan fills useful jobs in the "
    "workforce.",
    ("Q130", 1): "On immigration for work, you want the government of Japan to let anyone come "
    "who wants to.",
    ("Q146", 3): "You are not much worried about a war involving Japan.",
    ("Q153", 2): "Of four aims for Japan over the next ten years, your second choice is strong "
    "defence forces.",
    ("Q160", 10): "On the view that people rely too heavily on science and too little on faith, "
    "you stand at 10 on a scale from 1 (completely disagree) to 10 (completely agree).",
    ("Q171", 4): "Leaving out weddings and funerals, you attend religious services only on "
    "special holy days.",
    ("Q176", 2): "On the view that it is often hard these days to tell which moral rules to "
    "follow, you stand at 2 on a scale from 1 (completely agree) to 10 (completely disagree).",
    ("Q182", 3): "On whether homosexuality can be justified, you stand at 3 on a scale from 1 "
    "(never justifiable) to 10 (always justifiable).",
    ("Q201", 4): "You turn to newspapers less than monthly to find out what is happening in Japan "
    "and the world.",
    ("Q222", 4): "You are not allowed to vote in national elections.",
    ("Q245", 0): "In your view, it is against democracy when the army takes power if the "
    "government is incompetent.",
    ("Q251", 7): "You rate how democratically Japan is governed today at 7 on a scale from 1 (not "
    "at all democratic) to 10 (completely democratic).",
    ("Q254", 5): "Asked about national pride, you say that you are not a national of the country "
    "you live in.",
    ("Q257", 4): "The tie you feel to Japan is not close at all.",
    ("Q260", 2): "You are female.",
    ("Q261", 1972): "You were born in 1972.",
    ("Q262", 45): "You are 45 years old.",
    ("Q263", 2): "You are an immigrant: you were born outside the country where you live.",
    ("Q265", 1): "Your father is not an immigrant to Japan.",
    ("Q266", 840): "You were born in the United States.",
    ("Q267", 9999): "Your mother was born in another country.",
    ("Q269", 2): "You live in Japan but are not a citizen of it.",
    ("Q270", 1): "You live alone, in a household of one person.",
    ("Q270", 4): "You live in a household of 4 people.",
    ("Q270", 7): "You live in a household of seven or more people.",
    ("Q271", 2): "You live with your own parent or parents.",
    ("Q273", 6): "You are single.",
    ("Q274", 0): "You have no children.",
    ("Q274", 1): "You have one child.",
    ("Q274", 7): "You have seven or more children.",
    ("Q275", 6): "Your highest level of education is a bachelor's degree or equivalent.",
    ("Q276", 1): "Your spouse's or partner's highest level of education is primary education.",
    ("Q279", 2): "You work part time (less than 30 hours a week).",
    ("Q280", 4): "Your spouse or partner is retired or on a pension.",
    ("Q281", 0): "You have never had a job.",
    ("Q281", 3): "Your work is, or was, clerical, like that of a secretary, office manager or "
    "bookkeeper.",
    ("Q283", 10): "When you were 14, your father's work was that of a farm owner or farm manager.",
    ("Q285", 2): "In your household, you are not the chief wage earner.",
    ("Q286", 1): "During the past year, your family saved money.",
    ("Q287", 4): "You place yourself in the working class.",
    ("Q288", 3): "In Japan, your household's income is at 3 on a scale from 1 (the lowest income "
    "group) to 10 (the highest income group).",
    ("Q289", 1): "By religious denomination, you are Roman Catholic.",
    ("Q289", 0): "You do not belong to a religious denomination.",
}


@pytest.mark.parametrize(("answer", "text"), SAMPLES.items())
def test_samples_read_exactly_so(codebook: Codebook, answer: tuple[str, int], text: str) -> None:
    """The wording of facts is pinned: it is in every prompt, demo and cache."""
    id, code = answer
    assert codebook[id].fact_text(code, "JPN") == text


def test_a_fact_says_where_it_comes_from(codebook: Codebook) -> None:
    """A fact carries its question, code, section, battery and scale."""
    assert make_fact(codebook["Q1"], 1, "JPN") == Fact(
        "Q1",
        1,
        "Family is very important in your life.",
        "social-values",
        codebook["Q1"].battery,
        codebook["Q1"].scale,
    )


def test_sentences_are_made_once(codebook: Codebook) -> None:
    """The same answer gives the same object, in any country where it reads the same."""
    assert make_fact(codebook["Q1"], 1, "JPN") is make_fact(codebook["Q1"], 1, "USA")
    assert make_fact(codebook["Q269"], 1, "JPN") is not make_fact(codebook["Q269"], 1, "USA")


def test_facts_are_in_codebook_order(codebook: Codebook) -> None:
    """However the answers are ordered, the facts follow the codebook."""
    facts = make_facts({"Q289": 5, "Q57": 1, "Q1": 2}, codebook)
    assert [fact.question for fact in facts] == ["Q1", "Q57", "Q289"]


def test_missing_and_unknown_codes_are_never_facts(codebook: Codebook) -> None:
    """A negative code or a code that is no option is passed over, also where codes are open."""
    answers = {"Q1": -1, "Q2": -5, "Q3": 7, "Q261": -4, "Q288": 11, "Q4": 2}
    assert [fact.question for fact in make_facts(answers, codebook)] == ["Q4"]


def test_private_answers_are_facts_only_when_asked_for(codebook: Codebook) -> None:
    """Birth countries, party, language and ethnic group stay out by default."""
    answers = {"Q1": 1, "Q223": 5, "Q266": 392, "Q267": 392, "Q268": 8, "Q272": 1, "Q290": 3}
    assert [fact.question for fact in make_facts(answers, codebook)] == ["Q1"]
    told = make_facts(answers, codebook, include_private=True)
    assert [fact.question for fact in told] == ["Q1", "Q266", "Q267", "Q268"]
    assert told[3].text == "Your father was born in Albania."


def test_no_private_question_is_ever_told_by_default(codebook: Codebook) -> None:
    """With every question answered, no private one is among the facts."""
    answers = {question.id: (question.codes or (392,))[0] for question in codebook}
    told = {fact.question for fact in make_facts(answers, codebook)}
    assert told.isdisjoint({question.id for question in codebook if question.private})
    assert len(told) == 284


def test_answers_to_unknown_questions_are_refused(codebook: Codebook) -> None:
    """A misspelt question is an error, not a fact that silently goes missing."""
    with pytest.raises(UnknownQuestionError, match="no question q57"):
        make_facts({"q57": 1}, codebook)


def test_a_wrong_code_gives_no_fact(codebook: Codebook) -> None:
    """Asked for one fact, a code that does not exist is an error that lists the codes."""
    with pytest.raises(SurveyDataError, match=r"Q1: no such code; codes: 1, 2, 3, 4.*'9'"):
        make_fact(codebook["Q1"], 9)
    with pytest.raises(SurveyDataError, match="Q261: no such code"):
        make_fact(codebook["Q261"], -1)
    with pytest.raises(SurveyDataError, match="Q290: answers to this question are never facts"):
        make_fact(codebook["Q290"], 12)


def test_the_country_itself_is_a_fact(codebook: Codebook) -> None:
    """Where a person lives is told first, under an id of its own."""
    fact = country_fact("USA", codebook)
    assert fact == Fact(
        COUNTRY, 840, "You live in the United States.", "demographics", "demographics", "country"
    )
    with pytest.raises(SurveyDataError, match="no country 'US'"):
        country_fact("US", codebook)


def test_own_questions_give_facts_too() -> None:
    """A user's question is told by its text and the label chosen."""
    question = Question("Do you like tea?", ["Yes", "No"])
    assert make_fact(question, 2).text == 'Asked "Do you like tea?", you answered "No".'
    assert make_fact(question, 2).section == "own"
