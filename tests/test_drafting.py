"""Drafting codebooks: what is in a draft, that it always loads, and what is refused."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from labelled import NEGATIVE, write, write_ess, write_wave6

from valuesim_dspy.__main__ import main
from valuesim_dspy.errors import ConfigError, MissingDataError, SurveyDataError
from valuesim_dspy.survey.codebook import Codebook, load_codebook
from valuesim_dspy.survey.codebook_writing import GUESS
from valuesim_dspy.survey.drafting import draft_codebook
from valuesim_dspy.survey.respondents import read_respondents

pytestmark = pytest.mark.slow


def drafted(survey: Path, **known: Any) -> Codebook:
    """The codebook drafted from a file."""
    draft_codebook(survey, survey.with_suffix(".yaml"), **known)
    return load_codebook(survey.with_suffix(".yaml"))


def survey(
    path: Path, columns: Mapping[str, Any], labels: Mapping[str, str], values: Mapping[str, Any]
) -> Path:
    """A labelled file of these columns."""
    return write(path, pd.DataFrame(dict(columns)), labels, values, {})


def test_the_draft_of_a_file_like_the_ess(tmp_path: Path) -> None:
    """Scales, directions, missing codes, batteries, topics and columns, as one would write them."""
    ess = drafted(write_ess(tmp_path / "ess.sav"))
    assert ess.id == "ess" and ess.version == 1 and len(ess) == 13
    assert ess["happy"].codes == tuple(range(11)) and ess["happy"].direction == 1
    assert ess["happy"].poles == ("extremely unhappy", "extremely happy")
    assert ess["ppltrst"].poles == ("you can't be too careful", "most people can be trusted")
    assert ess["freehms"].order == (5, 4, 3, 2, 1) and ess["ipcrtiv"].direction == -1
    assert ess["vote"].scale_kind == "binary" and ess["vote"].order == (2, 1)
    assert ess["vote"].position(3) is None
    assert ess["rlgdnm"].scale_kind == "nominal" and ess["rlgdnm"].recode[66] == -3
    assert ess["agea"].scale_kind == "open" and ess["agea"].recode == {999: -5}
    assert ess["gndr"].recode == {9: -2}
    assert ess.batteries["trust-in-country-s-parliament"] == ("trstprl", "trstlgl")
    assert ess["trstlgl"].topic == "trust in the legal system"
    assert ess["ipcrtiv"].kind == "value" and ess["gndr"].kind == "demographic"
    assert ess.columns.named("D_INTERVIEW") == "cntry+idno" and ess.columns.sex == "gndr"


@pytest.mark.parametrize("name", ["ess.dta", "declared.sav"])
def test_stata_and_declared_codes_give_the_same_questions(tmp_path: Path, name: str) -> None:
    """The format does not matter, nor whether the file declares what its labels say."""
    plain = drafted(write_ess(tmp_path / "ess.sav"))
    (tmp_path / "ess.yaml").unlink()
    other = drafted(write_ess(tmp_path / name, declared=name == "declared.sav"))
    assert list(other.questions) == list(plain.questions)
    for question in plain:
        twin = other[question.id]
        assert twin.recode == question.recode and twin.options == question.options
        assert twin.text == question.text and twin.order == question.order
    kept = read_respondents(tmp_path / "ess.sav", codebook=plain).report.missing
    assert read_respondents(tmp_path / name, codebook=other).report.missing == kept


def test_every_guess_is_marked(tmp_path: Path) -> None:
    """Beside each order, kind, set of missing codes, column and wording; at the end what is out."""
    draft_codebook(write_wave6(tmp_path / "w6.sav"), tmp_path / "w6.yaml")
    lines = (tmp_path / "w6.yaml").read_text().splitlines()
    guessed = ("    order:", "    missing:", "    ask:", "  country:", "  weight:", "  id: ")
    for line in lines:
        if line.startswith(guessed):
            assert GUESS in line, line
    assert "#   V1: about the interview, not the person" in lines
    assert sum(GUESS in line for line in lines) > 25


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, columns, how many guesses, and what to do next."""
    path, out = write_ess(tmp_path / "ess.sav"), tmp_path / "my_codebook.yaml"
    assert main(["data", "codebook", str(path), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{out}: 13 questions in 10 batteries; 2 variables left out" in said
    assert "id cntry+idno, country cntry" in said and "pooled_weight -" in said
    assert "guesses are marked" in said and f"data check {path} --codebook {out}" in said
    assert load_codebook(out).id == "my-codebook"


def test_a_name_may_be_given(tmp_path: Path) -> None:
    """It becomes the id that saved programs know."""
    assert drafted(write_ess(tmp_path / "x.sav"), id="Our Panel 2024").id == "our-panel-2024"


def test_what_is_there_is_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A draft that was mended is worth more than a new one."""
    path, out = write_ess(tmp_path / "ess.sav"), tmp_path / "mine.yaml"
    out.write_text("mended")
    assert main(["data", "codebook", str(path), "-o", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err and out.read_text() == "mended"


@pytest.mark.parametrize(
    ("out", "id", "message"),
    [
        ("mine.txt", None, "must end in .yaml"),
        ("wvs7.yaml", None, "a name of its own"),
        ("mine.yaml", "wvs7", "a name of its own"),
        ("mine.yaml", "!!", "a name of its own"),
        ("nowhere/mine.yaml", None, "cannot be written"),
    ],
)
def test_where_it_cannot_go_is_refused(
    tmp_path: Path, out: str, id: str | None, message: str
) -> None:
    """The flag is named, and nothing is written."""
    path = write_ess(tmp_path / "ess.sav")
    with pytest.raises(ConfigError, match=message):
        draft_codebook(path, tmp_path / out, id=id)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ess.sav"]


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    """Text and weights alone make no codebook; nor does a file that is not there."""
    path = survey(tmp_path / "x.sav", {"a": ["x", "y"], "w": [0.5, 1.5]}, {}, {})
    with pytest.raises(SurveyDataError, match="no variable in it can be a question"):
        draft_codebook(path, tmp_path / "x.yaml")
    with pytest.raises(MissingDataError):
        draft_codebook(tmp_path / "none.sav", tmp_path / "x.yaml")
    assert not (tmp_path / "x.yaml").exists()


def test_a_survey_of_one_country_says_where_to_write_it(tmp_path: Path) -> None:
    """The draft has the line ready, as a comment."""
    columns = {"happy": [1, 2, 3, 1], "year": [1972, 1973, 1973, 1974]}
    values = {"happy": {1: "VERY HAPPY", 2: "PRETTY HAPPY", 3: "NOT TOO HAPPY"}}
    path = survey(tmp_path / "gss.dta", columns, {"happy": "GENERAL HAPPINESS"}, values)
    gss = drafted(path)
    text = (tmp_path / "gss.yaml").read_text()
    assert "# country: USA" in text and gss["happy"].topic == "general happiness"
    assert "{-1: dont-know, -2: no-answer" in text
    out = tmp_path / "gss.yaml"
    out.write_text(text.replace("# country: USA", "country: USA"))
    people = read_respondents(path, codebook=load_codebook(out))
    assert people.countries == {"USA": 4} and people[0].year == 1972


def test_countries_with_numbers_of_their_own(tmp_path: Path) -> None:
    """Afrobarometer's 4 is Cape Verde."""
    columns = {"COUNTRY": [1.0, 2.0, 4.0], "Q1": [1.0, 2.0, 1.0]}
    names = {1: "Benin", 2: "Botswana", 4: "Cabo Verde"}
    values = {"COUNTRY": names, "Q1": {1: "Yes", 2: "No"}}
    path = survey(tmp_path / "afro.sav", columns, {"COUNTRY": "Country", "Q1": "Q1. Vote"}, values)
    people = read_respondents(path, codebook=drafted(path))
    assert [person.country for person in people] == ["BEN", "BWA", "CPV"]
    assert people.codebook["Q1"].topic == "vote"


def odd_text(rng: random.Random) -> str:
    """A label as files have them: with signs that mean something in YAML or in templates."""
    signs = string.ascii_letters + string.digits + " {}[]:#,'\"%&*!|>@`-?\\/~äß中\u2019\u0085"
    words = ["Very", "not", "Agree", "Refusal", "true", "null", "no", "Trust in: ", "1.", "{topic}"]
    return "".join(
        rng.choice([rng.choice(signs), rng.choice(words)]) for _ in range(rng.randint(0, 14))
    )


@pytest.mark.parametrize("seed", range(25))
def test_any_labelled_file_gives_a_codebook_that_loads(tmp_path: Path, seed: int) -> None:
    """Whatever its labels are: the draft loads, reads its own file, and tells facts."""
    rng = random.Random(seed)
    columns: dict[str, Any] = {}
    labels, values = {}, {}
    for number in range(12):
        name = rng.choice([f"v{number}", f"true{number}", f"Q{number}_a", f"x.{number}"])
        codes = rng.sample([*range(12), 66, 77, 88, 99, -1, -2, 999, 40000], rng.randint(1, 9))
        columns[name] = [float(rng.choice(codes)) for _ in range(20)]
        labels[name] = odd_text(rng)
        values[name] = {
            code: rng.choice([odd_text(rng), str(code), *NEGATIVE.values()])
            for code in rng.sample(codes, rng.randint(0, len(codes)))
        }
    path = survey(tmp_path / "odd.sav", columns, labels, values)
    try:
        codebook = drafted(path)
    except SurveyDataError as error:
        assert "no variable" in str(error)
        return
    people = read_respondents(path, codebook=codebook)
    assert len(people) == 20 and len(codebook) > 0
    for question in codebook:
        assert "{" not in question.text and question.text.strip()
        for code in np.unique(people.column(question.id)):
            if code >= 0:
                assert question.fact_text(int(code)).endswith(".")
