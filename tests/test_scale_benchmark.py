"""The arithmetic of docs/scale.md: checked by hand-computed examples."""

from __future__ import annotations

import math

import pytest

from benchmarks.scale import (
    FULL,
    QUESTIONS,
    RESPONDENTS,
    Api,
    Cluster,
    answer_table,
    api_table,
    build_parser,
    cases,
    cluster_table,
    disk_table,
    load_table,
    predictor_table,
    report,
    table,
)
from benchmarks.scale_ratios import WAYS, Part, Ratios, Watched
from valuesim_dspy.program import ValueSim

THREE = Ratios(
    answers=100,
    parts={
        "writer.backstory": Part(0.02, 100.0, 0.0, 80.0),
        "panel.cognitive.answer": Part(1.0, 1000.0, 900.0, 100.0),
        "coordinator.answer": Part(0.25, 500.0, 200.0, 50.0),
    },
    response=2000.0,
    row=200.0,
    output=50.0,
)
ONE = Ratios(100, {"direct.answer": Part(1.0, 400.0, 300.0, 100.0)}, 1000.0, 100.0, 40.0)
FOUND = {FULL: THREE, "single": ONE}
LOAD = Part(calls=3600.0, read=10e6, repeated=8e6, written=1e6)


def test_parts_add_up_and_scale() -> None:
    """Calls, tokens read, repeated and written, each by itself."""
    assert Part(1, 2, 3, 4) + Part(10, 20, 30, 40) == Part(11, 22, 33, 44)
    assert Part(1, 2, 3, 4).times(2.5) == Part(2.5, 5.0, 7.5, 10.0)


def test_an_answer_is_the_sum_of_its_predictors() -> None:
    """As measured, the coordinator with as many calls as it had."""
    assert THREE.disagreement == 0.25
    assert THREE.an_answer() == Part(1.27, 1600.0, 1100.0, 230.0)


@pytest.mark.parametrize(
    ("disagreement", "expected"),
    [
        (0.0, Part(1.02, 1100.0, 900.0, 180.0)),
        (0.25, Part(1.27, 1600.0, 1100.0, 230.0)),
        (1.0, Part(2.02, 3100.0, 1700.0, 380.0)),
    ],
)
def test_only_the_coordinator_depends_on_disagreement(disagreement: float, expected: Part) -> None:
    """Four times as many disagreements are four times the coordinator's calls and tokens."""
    assert THREE.an_answer(disagreement) == expected


def test_a_program_without_a_coordinator_is_the_same_at_any_disagreement() -> None:
    """There is nothing to scale, and nothing is divided by zero."""
    assert ONE.disagreement == 0
    assert ONE.an_answer(0.0) == ONE.an_answer(1.0) == ONE.an_answer() == ONE.parts["direct.answer"]


def test_the_range_is_shown_for_the_full_program_alone() -> None:
    """From agreement always to never, what was measured in between."""
    found = cases(FOUND)
    assert list(found) == [
        *("full, agreement always", "full, 25% disagree", "full, agreement never"),
        "single",
    ]
    assert found["full, agreement never"].calls == 2.02


def test_money_at_a_provider() -> None:
    """Ten million tokens read at $1, eight of which may be kept at $0.10; a million at $4."""
    api = Api(read=1.0, kept=0.1, written=4.0)
    assert api.usd(LOAD, 0.0) == 14.0
    assert api.usd(LOAD, 1.0) == pytest.approx(2.0 + 0.8 + 4.0)
    assert api.usd(LOAD, 0.5) == pytest.approx(6.0 + 0.4 + 4.0)


def test_hours_at_a_provider_go_by_calls_in_flight_or_by_its_limit() -> None:
    """3,600 calls of 2 s, two at once, take an hour; 11 million tokens at 100,000 a minute 110."""
    assert Api(latency=2.0, in_flight=2).hours(LOAD) == 1.0
    assert Api(latency=2.0, in_flight=2, tokens_per_minute=1e5).hours(LOAD) == pytest.approx(11 / 6)
    assert Api(latency=2.0, in_flight=2, tokens_per_minute=1e9).hours(LOAD) == 1.0


def test_calls_in_flight_for_a_deadline_are_rounded_up() -> None:
    """7,200 seconds of calls in one hour are two at once; in 50 minutes, three."""
    api = Api(latency=2.0)
    assert api.needed_in_flight(LOAD, 1.0) == 2
    assert api.needed_in_flight(LOAD, 50 / 60) == 3


def test_hours_and_money_on_servers() -> None:
    """A server reads 10,000 a second and writes 1,000: 1,000 s and 1,000 s; kept, 200 and 1,000."""
    cluster = Cluster(servers=2, read=10_000, written=1_000, usd=3.6)
    assert cluster.server_hours(LOAD, 0.0) * 3600 == pytest.approx(2000)
    assert cluster.server_hours(LOAD, 1.0) * 3600 == pytest.approx(1200)
    assert cluster.hours(LOAD, 1.0) * 3600 == pytest.approx(600)
    assert cluster.price(LOAD, 1.0) == pytest.approx(1.2)
    assert Cluster(servers=8, read=10_000, written=1_000, usd=3.6).price(LOAD, 1.0) == (
        pytest.approx(1.2)
    )


def test_the_survey_is_the_answers_times_what_one_takes() -> None:
    """24,305,000 answers of one call and 400 tokens; 100 of them new."""
    answers = RESPONDENTS * QUESTIONS
    assert answers == 24_305_000
    shown = load_table({"single": ONE.an_answer().times(answers)})
    assert [cell.strip() for cell in shown.splitlines()[-1].split("|")[1:-1]] == [
        *("single", "24.3", "9.7", "2.43", "2.43")
    ]


def test_tables_say_what_was_computed() -> None:
    """The cells of one row each."""

    def cells(shown: str) -> list[str]:
        return [cell.strip() for cell in shown.splitlines()[-1].split("|")[1:-1]]

    each = {"single": ONE.an_answer()}
    assert cells(answer_table(each)) == ["single", "1.000", "400", "75.0%", "100"]
    assert cells(predictor_table(THREE)) == [
        *("coordinator.answer", "0.250", "2,000", "40.0%", "200")
    ]
    loads = {"x": LOAD}
    api = Api(latency=2.0, in_flight=2)
    assert cells(api_table(loads, api, 1.0, 0.5)) == ["x", "$14", "$7", "1", "4"]
    cluster = Cluster(servers=1, read=10_000, written=1_000, usd=36.0)
    assert cells(cluster_table(loads, cluster, 1.0)) == ["x", "0.6", "0.3", "$20", "$12"]
    # A million answers of one call: a GB of responses, 100 MB of journal, 3.6 ms each.
    assert cells(disk_table({"single": ONE}, 1_000_000, 0.0036)) == [
        *("single", "1.0 GB", "0.1 GB", "0.0 GB", "1")
    ]


def test_a_table_is_markdown_in_line() -> None:
    """Names to the left, numbers to the right, all lines as long."""
    lines = table(("a", "count"), [("long name", "7"), ("b", "10,000")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| --------- | -----: |" and lines[2] == "| long name |      7 |"


def test_every_price_and_speed_is_an_argument_and_is_printed() -> None:
    """What is given changes what is printed; what the ratios were measured on is said."""
    line = (
        "--usd-read 2 --usd-kept 0.5 --usd-written 8 --latency 1 --in-flight 7 --servers 3 "
        "--read-rate 11 --write-rate 13 --usd-server 17 --hit 0.9 --hours 5 --respondents 10 "
        "--questions 4 --tokens-per-minute 99"
    )
    given = build_parser().parse_args(line.split())
    text = "\n\n".join(report(given, FOUND, 0.002))
    for said in (
        "100 answers of 2 synthetic people",
        "offline/lexical-1",
        "10 respondents x 4 questions = 40 answers",
        "$2 read, $0.5 kept, $8 written; 7 calls in flight of 1 s, 99 tokens a minute; 90% of",
        "example servers: 3, each 11 tokens a second read, 13 written, $17 an hour",
        "in flight for 5 h",
        "2.0 ms of processor time a call here; 2,000 bytes a response, 200 a row of the journal",
    ):
        assert said in text, said


def test_a_request_is_counted_for_the_predictor_that_sent_it() -> None:
    """By its instructions; what repeats an earlier prompt is told from what is new."""
    from dspy.lm15 import Message, Request

    program = ValueSim("single")
    (name, predictor), *_ = program.named_predictors()
    watched = Watched(program)
    head = f"{predictor.signature.instructions}\n{'x' * 400}"
    for end in ("one", "two"):
        request = Request(model="m", system=head, messages=(Message.user(end),))
        watched.count(request, "four" * 10)
    part = watched.parts[name]
    assert (part.calls, part.written) == (2, 20)
    assert part.read / 2 * 0.9 < part.repeated < part.read / 2
    assert math.isclose(watched.prefixes.share, part.repeated / part.read, rel_tol=0.05)


def test_all_ways_are_programs_of_a_plan() -> None:
    """One call a question, all perspectives, a battery and ten at a time."""
    assert {way.get("together") for way in WAYS.values()} == {None, "battery", 10}
    assert {str(way["program"]) for way in WAYS.values()} == {"full", "single", "together"}
