"""The benchmark of reuse: what it counts, what it refuses to compare, what it says of a half."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

import benchmarks.compile_calls
from benchmarks.compile_calls import CHOICES, HEAD, Calls, Reuse, compare, config, line, main
from evals.study import Study, open_study
from optimize.teleprompters import TELEPROMPTERS, Compilation, Compiled, Teleprompter
from optimize.teleprompters.bootstrapping import LabeledOptions
from valuesim_dspy.cache import ResponseCache

pytestmark = pytest.mark.slow

TINY = (
    "data.respondents=250",
    "protocol.train=3",
    "protocol.val=3",
    "protocol.dev=2",
    "protocol.test=2",
    "protocol.targets=2",
)


@pytest.fixture(scope="module")
def study() -> Iterator[Study]:
    """A tiny study with an empty cache in memory."""
    with open_study(config(*TINY), cache=ResponseCache()) as opened:
        yield opened


@pytest.fixture(scope="module")
def searched(study: Study) -> Reuse:
    """A search over demos of one perspective."""
    return compare(study, "bootstrap-random-search", CHOICES["one perspective"])


def test_without_reuse_every_request_is_paid(searched: Reuse) -> None:
    """Each run of the program asks for the backstory and three perspectives at least."""
    valset_passes = 6  # uncompiled, in order, and four shuffles
    assert searched.plain.all >= valset_passes * 6 * 4
    assert searched.plain.stories >= valset_passes * 6


def test_with_reuse_nobody_has_a_second_backstory(searched: Reuse) -> None:
    """A compile of perspectives never rewrites backstories per candidate."""
    assert 0 < searched.reused.stories <= searched.people == 6
    assert searched.plain.stories > 2 * searched.people


def test_one_perspective_takes_at_most_half(searched: Reuse) -> None:
    """The answers of the two others are reused for every candidate."""
    assert searched.reused.all <= searched.plain.all / 2
    assert line(searched).endswith("at most half")


def test_all_perspectives_save_less_than_one(study: Study, searched: Reuse) -> None:
    """Every candidate asks all of them anew; backstories are reused all the same."""
    found = compare(study, "bootstrap-random-search", CHOICES["all perspectives"])
    assert searched.ratio < found.ratio < 1
    assert found.reused.stories <= found.people < found.plain.stories


def test_a_comparison_begins_with_nothing_cached(study: Study, searched: Reuse) -> None:
    """A second one counts the same: neither the study's cache nor the first answers for it."""
    again = compare(study, "bootstrap-random-search", CHOICES["one perspective"])
    assert again == searched
    assert study.meter.paid.calls == 0


def test_a_teleprompter_without_calls_has_no_ratio(study: Study) -> None:
    """Labels need no model; nothing is claimed of a half."""
    found = compare(study, "labeled-few-shot", CHOICES["one perspective"])
    assert found.plain.all == found.reused.all == 0
    assert math.isnan(found.ratio)
    assert line(found).endswith("-")


def test_other_candidates_are_not_compared(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of compilations that came to other programs say nothing of reuse."""
    times = []

    def fickle(compilation: Compilation) -> Compiled:
        times.append(1)
        program = compilation.student.deepcopy()
        for predictor in program.predictors():
            predictor.signature = predictor.signature.with_instructions(f"Time {len(times)}.")
        return Compiled(program)

    odd = Teleprompter("fickle", "", LabeledOptions, fickle, lambda *_: (0, 0))
    monkeypatch.setitem(TELEPROMPTERS, "fickle", odd)
    with pytest.raises(RuntimeError, match="fickle"):
        compare(study, "fickle", CHOICES["all perspectives"])


def test_only_a_half_is_called_a_half() -> None:
    """More than half is told as it is."""
    half = Reuse("x", Calls(50, 5), Calls(100, 25), 5)
    more = Reuse("x", Calls(51, 5), Calls(100, 25), 5)
    assert (half.ratio, more.ratio) == (0.5, 0.51)
    assert line(half).endswith("0.50  at most half") and line(more).endswith("0.51")


def test_lines_stand_under_their_heads() -> None:
    """Numbers end where their column's name ends."""
    row = line(Reuse("gepa", Calls(1524, 50), Calls(2540, 604), 50))
    for name, number in (("without", "2,540"), ("with ", "1,524 "), ("ratio", "0.60")):
        assert HEAD.rindex(name) + len(name) == row.rindex(number) + len(number)


def test_the_command_prints_a_table_for_each_choice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both choices, one line for each teleprompter named."""
    monkeypatch.setattr(benchmarks.compile_calls, "config", lambda: config(*TINY))
    main(["labeled-few-shot", "bootstrap"])
    told = capsys.readouterr().out
    for choice in CHOICES:
        assert f"compiled: {choice}" in told
    assert told.count(HEAD) == 2
    assert told.count("\nbootstrap ") == 2 and told.count("\nlabeled-few-shot ") == 2
