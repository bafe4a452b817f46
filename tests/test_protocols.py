"""The protocols: the published one exactly, and folds by name."""

import json
from pathlib import Path

import pytest

from evals.protocols import PROTOCOLS, protocol_overrides
from evals.study import draw
from valuesim_dspy.config import JobConfig, load_job
from valuesim_dspy.survey.splits import paper_folds, paper_sample
from valuesim_dspy.survey.synthetic import synthesize

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"


def job(tmp_path: Path, *overrides: str) -> JobConfig:
    """Read a small job with overrides."""
    file = tmp_path / "job.toml"
    file.write_text("[protocol]\ntrain = 10\nval = 5\ndev = 5\ntest = 20\ntargets = 4\n")
    return load_job(file, overrides)


def test_a_protocol_replaces_keys_of_the_job(tmp_path: Path) -> None:
    """`paper` sets folds, people, kinds and targets; `fair` leaves the job as it is."""
    paper = job(tmp_path, *protocol_overrides("paper", fold=3)).protocol
    assert (paper.folds, paper.split, paper.fold, paper.test) == ("paper", "paper", 3, 100)
    assert paper.targets is None and paper.dependence is None and "demographic" in paper.kinds
    assert job(tmp_path, *protocol_overrides("fair")) == job(tmp_path)


@pytest.mark.parametrize("folds", ["question", "battery", "topic"])
def test_folds_are_chosen_by_name(tmp_path: Path, folds: str) -> None:
    """The strength of the folds is a word on the command line."""
    protocol = job(tmp_path, *protocol_overrides("fair", folds, 2)).protocol
    assert (protocol.folds, protocol.fold) == (folds, 2)


def test_the_paper_protocol_draws_the_published_people_and_questions(tmp_path: Path) -> None:
    """Whatever the file's size, the test people are rows drawn as published, folds as published."""
    people = synthesize(600, seed=2)
    config = job(tmp_path, *protocol_overrides("paper", fold=2))
    fold, split = draw(config, people)
    assert [people[place].row for place in split.test] == list(paper_sample(600))
    published = paper_folds(people.codebook)[1]
    assert fold.targets("test") == published.targets("test")


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published lists are not here")
def test_the_published_lists_are_met() -> None:
    """The sample of the whole file is the published one."""
    listed = json.loads((REFERENCE / "published_sample.json").read_text())
    assert set(paper_sample()) == set(listed["row_numbers"])


def test_every_protocol_says_what_it_is() -> None:
    """Names are keys and descriptions single lines."""
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name and protocol.what and "\n" not in protocol.what
