"""How people are cut into chunks, and what becomes of a chunk whose worker died."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_ray import cache_as_before  # noqa: F401
from simulated import journal_of, run_here, small_plan, write_people

from valuesim_dspy.journal import Journal, Shard
from valuesim_dspy.outcomes import Outcome
from valuesim_dspy.plan import Opened, open_plan
from valuesim_dspy.ray_engine.work import LIVES, Chunk, Work

PEOPLE = 30


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A plan of two questions to thirty people."""
    survey = write_people(tmp_path_factory.mktemp("survey"))
    return open_plan(small_plan(survey, sample=PEOPLE))


@pytest.fixture
def journal(opened: Opened, tmp_path: Path) -> Iterator[Journal]:
    """Its journal, empty."""
    with journal_of(opened, tmp_path / "journal") as made:
        yield made


def work_of(opened: Opened, journal: Journal, *, workers: int = 2, rows: int = 12) -> Work:
    """Return what is left to do."""
    return Work(opened, journal, workers=workers, rows=rows)


def chunks(work: Work, journal: Journal) -> list[Chunk]:
    """Hand everything out and take it as answered."""
    given = []
    while chunk := work.next():
        given.append(chunk)
        for number in (n for at in chunk.at for n in work.numbers(at)):
            if not work.is_done(number):
                journal.add(number, answered(number))
    return given


def answered(number: int) -> Outcome:
    """Return some outcome of a row."""
    return Outcome(f"person {number // 2}", "Q69", None, 1, "answered")


def test_everybody_is_handed_out_once(opened: Opened, journal: Journal) -> None:
    """In their order, whatever the sizes."""
    given = chunks(work_of(opened, journal), journal)
    assert [at for chunk in given for at in chunk.at] == list(range(PEOPLE))


def test_chunks_are_bounded_and_become_small(opened: Opened, journal: Journal) -> None:
    """At most the rows asked for; towards the end each worker gets a part of the rest."""
    sizes = [len(chunk.at) for chunk in chunks(work_of(opened, journal), journal)]
    assert sizes[0] == max(sizes) == 12 // 2
    assert sizes[-1] == 1 and sizes == sorted(sizes, reverse=True)


def test_a_chunk_holds_a_person_at_least(opened: Opened, journal: Journal) -> None:
    """Also where that is more rows than were asked for."""
    work = work_of(opened, journal, rows=1)
    assert {len(chunk.at) for chunk in chunks(work, journal)} == {1}


def test_people_are_read_when_they_are_handed_out(opened: Opened, journal: Journal) -> None:
    """What was answered meanwhile, by whomever, is not handed out."""
    work = work_of(opened, journal)
    first = work.next()
    assert first is not None and first.at == (0, 1, 2, 3, 4, 5)
    for number in (*work.numbers(6), work.numbers(7)[0]):
        journal.add(number, answered(number))
    second = work.next()
    assert second is not None and second.at[0] == 7
    assert work.done_in(second) == (14,)


def test_another_shards_rows_count_as_done(opened: Opened, tmp_path: Path) -> None:
    """They are another process's to ask."""
    with journal_of(opened, tmp_path / "part", Shard(3, 3)) as part:
        given = chunks(work_of(opened, part), part)
        assert [at for chunk in given for at in chunk.at] == list(range(2, PEOPLE, 3))
        assert part.count == part.expected == PEOPLE // 3 * 2


def test_a_lost_chunk_comes_back_in_halves(opened: Opened, journal: Journal) -> None:
    """Without the people who are answered, and before anybody new is asked."""
    work = work_of(opened, journal)
    lost = work.next()
    assert lost is not None
    for number in (n for at in lost.at[:2] for n in work.numbers(at)):
        journal.add(number, answered(number))
    assert list(work.give_back(lost)) == []
    again = [work.next(), work.next(), work.next()]
    assert [chunk.at if chunk else () for chunk in again][:2] == [(2, 3), (4, 5)]
    assert again[2] is not None and again[2].at[0] == 6


def test_a_lost_chunk_that_was_answered_is_no_work(opened: Opened, journal: Journal) -> None:
    """The worker died after its last row."""
    work = work_of(opened, journal)
    lost = work.next()
    assert lost is not None
    run_here(opened, journal, at=lost.at)
    assert list(work.give_back(lost)) == []
    following = work.next()
    assert following is not None and following.at[0] == lost.at[-1] + 1


def test_a_person_has_a_bounded_number_of_lives(opened: Opened, journal: Journal) -> None:
    """Then their rows are failures with a reason, and the run can end."""
    work = work_of(opened, journal, rows=1)
    lost = work.next()
    for _ in range(LIVES - 1):
        assert lost is not None and lost.at == (0,)
        assert list(work.give_back(lost)) == []
        lost = work.next()
    assert lost is not None
    given_up = list(work.give_back(lost))
    assert [number for number, _ in given_up] == [0, 1]
    expected = opened.respondents[opened.positions[0]]
    for place, (_, outcome) in enumerate(given_up):
        assert outcome.status == "failed" and outcome.answer is None
        assert outcome.reason == f"{LIVES} Ray workers ended while they asked this person"
        assert outcome.respondent == expected.key(opened.respondents.digest)
        assert outcome.truth == expected.answer(opened.questions[place].id)


def test_what_was_answered_of_a_given_up_person_stays(opened: Opened, journal: Journal) -> None:
    """Only the rows that are left are failures."""
    journal.add(0, answered(0))
    work = work_of(opened, journal, rows=1)
    assert [number for number, _ in work.give_back(Chunk((0,), LIVES - 1))] == [1]
