"""Arms by name: variants, baselines and saved programs, each bound to what its study has."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import small_job

from evals.arms import build_arm, find_arm
from evals.baselines import RAG, Blank, CountryMode, Mode, PeersMode, RAGWithPeers
from evals.study import Study, open_study
from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.config import JobConfig
from valuesim_dspy.errors import ConfigError, MissingDataError, ProgramStateError
from valuesim_dspy.loading import save_program
from valuesim_dspy.program import VARIANTS, ValueSim


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A small study of synthetic people, its cache in memory."""
    with open_study(small_job(), cache=ResponseCache()) as made:
        yield made


def opened(config: JobConfig) -> Any:
    """Open a study with its cache in memory."""
    return open_study(config, cache=ResponseCache())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_built_with_the_jobs_demo_facts(name: str) -> None:
    """Demos made in a job are condensed to what its config says."""
    with opened(small_job(compile={"demo_facts": 5})) as study:
        program = build_arm(study, name)
    assert (program.kind, program.variant) == ("valuesim", name)
    sizes = {m.demo_facts for _, m in program.named_sub_modules() if hasattr(m, "demo_facts")}
    assert sizes == {5}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rag", RAG),
        ("blank", Blank),
        ("mode", Mode),
        ("country-mode", CountryMode),
        ("rag-peers", RAGWithPeers),
        ("peers-mode", PeersMode),
    ],
)
def test_a_baseline_is_built_by_name(study: Study, name: str, kind: type) -> None:
    """A key of BASELINES gives its class."""
    assert type(build_arm(study, name)) is kind


def test_rag_is_bound_to_the_studys_retriever() -> None:
    """Its k is the config's."""
    with opened(small_job(embedder={"k": 7})) as study:
        assert build_arm(study, "rag").binding == {"embedder": "lexical", "k": 7}


def test_an_unknown_arm_is_a_config_error_that_lists_the_known(study: Study) -> None:
    """The message says what was given and what would do."""
    with pytest.raises(ConfigError, match=r"arm: 'ful' is no variant.*full, .*country-mode"):
        build_arm(study, "ful")


def test_a_folder_without_a_program_is_missing_data(study: Study, tmp_path: Path) -> None:
    """It is not taken for an arm's name."""
    with pytest.raises(MissingDataError, match="there is no program at"):
        build_arm(study, str(tmp_path))


def test_a_saved_program_is_loaded_from_its_folder(study: Study, tmp_path: Path) -> None:
    """Its demos come with it."""
    program = ValueSim("single")
    program.direct.answer.demos = [{"facts": "- You like tea.", "analysis": "", "answer": 2}]
    folder = save_program(program, tmp_path / "p", study.manifest("valuesim", "single"))
    loaded = build_arm(study, str(folder))
    assert (loaded.kind, loaded.variant) == ("valuesim", "single")
    assert loaded.direct.answer.demos == program.direct.answer.demos


def test_a_saved_rag_is_bound_as_the_config_says(study: Study, tmp_path: Path) -> None:
    """A retrieval index is no part of a program's folder."""
    manifest = study.manifest("rag", "rag")
    folder = save_program(build_arm(study, "rag"), tmp_path / "p", manifest)
    with opened(small_job(embedder={"k": 2})) as other:
        assert build_arm(other, str(folder)).binding == {"embedder": "lexical", "k": 2}
    blank = save_program(Blank(), tmp_path / "b", study.manifest("blank", "blank"))
    assert type(build_arm(study, str(blank))) is Blank


def test_a_program_of_an_unknown_kind_is_refused(study: Study, tmp_path: Path) -> None:
    """A folder says which class it is of; only known ones are built."""
    folder = save_program(Blank(), tmp_path / "p", study.manifest("blank", "blank"))
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace('"kind": "blank"', '"kind": "other"'))
    with pytest.raises(ProgramStateError, match="not a saved baseline"):
        build_arm(study, str(folder))


def test_a_folder_that_bears_an_arms_name_does_not_hide_the_arm(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`full` is the variant; `./full` is the folder."""
    monkeypatch.chdir(tmp_path)
    save_program(ValueSim("single"), "full", study.manifest("valuesim", "single"))
    assert build_arm(study, "full").variant == "full"
    assert build_arm(study, "./full").variant == "single"
    assert find_arm("full") is None
    assert find_arm("./full") == Path("full")


# --- similar people -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["peers", "single-peers", "full"])
def test_a_variant_is_bound_to_similar_people_where_it_reads_them(study: Study, name: str) -> None:
    """The prompt of a variant with peers holds what the study's training people answered."""
    case = study.examples("dev")[0].case
    inputs = build_arm(study, name).inputs(case)
    assert inputs.get("peers") == (study.peers.text(case) if name != "full" else None)


def test_saved_programs_are_bound_again(study: Study, tmp_path: Path) -> None:
    """An index is no part of a folder: a variant and a RAG get the study's."""
    case = study.examples("test")[0].case
    arms = {"valuesim": ValueSim("single-peers"), "rag-peers": RAGWithPeers()}
    for kind, arm in arms.items():
        manifest = study.manifest(kind, arm.variant)
        bound = build_arm(study, arm.variant)
        folder = save_program(bound, tmp_path / kind, manifest)
        assert study.respondents[0].key(study.respondents.digest) not in "".join(
            path.read_text() for path in folder.iterdir()
        )
        loaded = build_arm(study, str(folder))
        assert loaded is not bound and loaded.inputs(case) == bound.inputs(case)


def test_other_people_than_when_saved_are_told_of(
    study: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The program answers, and a warning says that its evidence is another."""
    manifest = study.manifest("rag-peers", "rag-peers")
    folder = save_program(build_arm(study, "rag-peers"), tmp_path / "p", manifest)
    with caplog.at_level(logging.WARNING, "evals.arms"):
        build_arm(study, str(folder))
        assert not caplog.records
        with opened(small_job(data={"respondents": 240})) as other:
            build_arm(other, str(folder))
    assert "other similar people" in caplog.text


def test_similar_people_are_training_people(study: Study) -> None:
    """The index holds the training split and nobody else, found with the profiles' salt."""
    assert len(study.peers) == len(study.split.train)
    assert study.peers is study.peers
    case = study.examples("train")[0].case
    own = [study.respondents[at].key(study.respondents.digest) for at in study.split.train]
    assert case.profile.key in own
    assert len(study.peers.nearest(case, 1000)) < len(study.split.train)
