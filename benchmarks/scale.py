"""What a whole survey takes: calls, tokens, money, hours and disk, from ratios measured here.

Run by hand: `python benchmarks/scale.py [--respondents N --questions N --usd-read X ...]`. Ratios
are measured on a few synthetic people with the embedded model; prices and speeds are examples that
are given as arguments, and no claim about any provider. How often perspectives disagree is a trait
of the model that answers: the program `full` is shown from agreement always to never.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.scale_ratios import PARTS, SEED, Part, Ratios, measure_all  # noqa: E402

RESPONDENTS, QUESTIONS = 97_220, 250
FULL = "full"
CLIENT_ANSWERS = 60


@dataclass(frozen=True)
class Api:
    """A provider: US dollars per million tokens, and how fast it is asked.

    Attributes:
        read: Price of a prompt token that is read.
        kept: Price of a prompt token that the provider has kept.
        written: Price of a completion token.
        latency: Seconds a call takes.
        in_flight: Calls under way at once.
        tokens_per_minute: The most that may be sent and received; None for no limit.
    """

    read: float = 1.0
    kept: float = 0.1
    written: float = 4.0
    latency: float = 2.0
    in_flight: int = 64
    tokens_per_minute: float | None = None

    def usd(self, load: Part, hit: float) -> float:
        """Return the price of a load; `hit` is the share of repeats that is found kept."""
        kept = load.repeated * hit
        paid = (load.read - kept) * self.read + kept * self.kept + load.written * self.written
        return paid / 1e6

    def hours(self, load: Part) -> float:
        """Return how long a load takes: by calls in flight, or by tokens a minute if longer."""
        seconds = load.calls * self.latency / self.in_flight
        if self.tokens_per_minute is not None:
            seconds = max(seconds, 60 * (load.read + load.written) / self.tokens_per_minute)
        return seconds / 3600

    def needed_in_flight(self, load: Part, hours: float) -> int:
        """Return how many calls must be under way for a load to be done in so many hours."""
        return ceil(load.calls * self.latency / (hours * 3600))


@dataclass(frozen=True)
class Cluster:
    """Servers of one's own, each with the tokens a second that it reads and writes.

    Attributes:
        servers: How many.
        read: Prompt tokens a second that a server reads anew.
        written: Completion tokens a second that a server writes, all its requests together.
        usd: US dollars a server and hour.
    """

    servers: int = 16
    read: float = 20_000.0
    written: float = 2_500.0
    usd: float = 2.5

    def server_hours(self, load: Part, hit: float) -> float:
        """Return the hours of one server; it reads and writes in turn, repeats cost nothing."""
        fresh = load.read - load.repeated * hit
        return (fresh / self.read + load.written / self.written) / 3600

    def hours(self, load: Part, hit: float) -> float:
        """Return how long all servers together take."""
        return self.server_hours(load, hit) / self.servers

    def price(self, load: Part, hit: float) -> float:
        """Return the price of a load in US dollars."""
        return self.server_hours(load, hit) * self.usd


def cases(found: Mapping[str, Ratios]) -> dict[str, Part]:
    """Return what an answer takes, by program; `full` from agreement always to never."""
    rows: dict[str, Part] = {}
    for name, ratios in found.items():
        if name == FULL:
            rows[f"{name}, agreement always"] = ratios.an_answer(0.0)
            rows[f"{name}, {ratios.disagreement:.0%} disagree"] = ratios.an_answer()
            rows[f"{name}, agreement never"] = ratios.an_answer(1.0)
        else:
            rows[name] = ratios.an_answer()
    return rows


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text as a Markdown table, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        shown = [cells[0].ljust(widths[0])]
        shown += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(shown)} |"

    rule = [f"{'-' * (width - 1)}{'-' if at == 0 else ':'}" for at, width in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def answer_table(each: Mapping[str, Part]) -> str:
    """Return what one answer takes."""
    head = ("an answer", "calls", "tokens read", "of them repeated", "written")
    rows = [
        (name, f"{p.calls:.3f}", f"{p.read:,.0f}", f"{_share(p):.1%}", f"{p.written:,.0f}")
        for name, p in each.items()
    ]
    return table(head, rows)


def predictor_table(ratios: Ratios) -> str:
    """Return what one call of each predictor takes."""
    head = ("a call of", "calls an answer", "tokens read", "of them repeated", "written")
    rows = [
        (
            name,
            f"{p.calls:.3f}",
            *(f"{p.read / p.calls:,.0f}", f"{_share(p):.1%}", f"{p.written / p.calls:,.0f}"),
        )
        for name, p in ratios.parts.items()
    ]
    return table(head, rows)


def load_table(loads: Mapping[str, Part]) -> str:
    """Return what the whole survey takes."""
    head = ("the survey", "million calls", "billion tokens read", "of them new", "written")
    rows = [
        (
            *(name, f"{p.calls / 1e6:,.1f}", f"{p.read / 1e9:,.1f}"),
            *(f"{(p.read - p.repeated) / 1e9:,.2f}", f"{p.written / 1e9:,.2f}"),
        )
        for name, p in loads.items()
    ]
    return table(head, rows)


def api_table(loads: Mapping[str, Part], api: Api, hit: float, hours: float) -> str:
    """Return money and time at a provider, without and with kept prefixes."""
    head = ("at a provider", "nothing kept", "prefixes kept", "hours", f"in flight for {hours:g} h")
    rows = [
        (
            *(name, f"${api.usd(p, 0.0):,.0f}", f"${api.usd(p, hit):,.0f}"),
            *(f"{api.hours(p):,.0f}", f"{api.needed_in_flight(p, hours):,}"),
        )
        for name, p in loads.items()
    ]
    return table(head, rows)


def cluster_table(loads: Mapping[str, Part], cluster: Cluster, hit: float) -> str:
    """Return time and money on servers of one's own, without and with kept prefixes."""
    head = ("on one's own servers", "hours, nothing kept", "prefixes kept", "dollars", "kept")
    rows = [
        (
            *(name, f"{cluster.hours(p, 0.0):,.1f}", f"{cluster.hours(p, hit):,.1f}"),
            *(f"${cluster.price(p, 0.0):,.0f}", f"${cluster.price(p, hit):,.0f}"),
        )
        for name, p in loads.items()
    ]
    return table(head, rows)


def disk_table(found: Mapping[str, Ratios], answers: int, client: float) -> str:
    """Return what is kept on disk in GB (1e9 bytes), and the client's own time in hours."""
    head = ("kept and spent here", "response cache", "journal", "answers", "client, core hours")
    rows = []
    for name, ratios in found.items():
        calls = ratios.an_answer().calls * answers
        kept = (calls * ratios.response, answers * ratios.row, answers * ratios.output)
        shown = [f"{size / 1e9:,.1f} GB" for size in kept]
        rows.append((name, *shown, f"{calls * client / 3600:,.0f}"))
    return table(head, rows)


def _share(part: Part) -> float:
    return part.repeated / part.read if part.read else 0.0


def client_seconds(answers: int = CLIENT_ANSWERS) -> float:
    """Return the client's processor time a call, in seconds, against a server on loopback."""
    from benchmarks.simulate import run_once
    from benchmarks.simulate_runs import people
    from benchmarks.simulate_server import serving

    asked = people(answers)
    with serving(0.0) as server:
        run_once(server, FULL, [asked[0][:2]])  # Imports and first connections are not it.
        run = run_once(server, FULL, asked)
    return run.cpu / run.calls


def report(given: argparse.Namespace, found: Mapping[str, Ratios], client: float) -> Iterator[str]:
    """Yield the blocks that are printed."""
    api = Api(
        *(given.usd_read, given.usd_kept, given.usd_written),
        *(given.latency, given.in_flight, given.tokens_per_minute),
    )
    cluster = Cluster(given.servers, given.read_rate, given.write_rate, given.usd_server)
    answers = given.respondents * given.questions
    each = cases(found)
    loads = {name: part.times(answers) for name, part in each.items()}
    yield (
        f"{datetime.date.today()}: ratios of {found[FULL].answers:,} answers of {given.people} "
        f"synthetic people (seed {SEED}, all questions, {PARTS} parts) by offline/lexical-1"
    )
    yield answer_table(each)
    yield predictor_table(found[FULL])
    yield f"{given.respondents:,} respondents x {given.questions} questions = {answers:,} answers"
    yield load_table(loads)
    limit = f", {api.tokens_per_minute:,.0f} tokens a minute" if api.tokens_per_minute else ""
    yield (
        f"example prices a million tokens: ${api.read:g} read, ${api.kept:g} kept, "
        f"${api.written:g} written; {api.in_flight} calls in flight of {api.latency:g} s{limit}; "
        f"{given.hit:.0%} of what repeats is found kept"
    )
    yield api_table(loads, api, given.hit, given.hours)
    yield (
        f"example servers: {cluster.servers}, each {cluster.read:,.0f} tokens a second read, "
        f"{cluster.written:,.0f} written, ${cluster.usd:g} an hour"
    )
    yield cluster_table(loads, cluster, given.hit)
    ratios = found[FULL]
    yield (
        f"{FULL}: {client * 1e3:.1f} ms of processor time a call here; {ratios.response:,.0f} "
        f"bytes a response, {ratios.row:,.0f} a row of the journal, {ratios.output:,.0f} a row of "
        "the answers"
    )
    yield disk_table(found, answers, client)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; every default is an example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    for name, kind, default, told in (
        ("respondents", int, RESPONDENTS, "of the survey"),
        ("questions", int, QUESTIONS, "put to each"),
        ("people", int, 2, "measured on"),
        ("usd-read", float, Api.read, "dollars per million prompt tokens"),
        ("usd-kept", float, Api.kept, "the same where the provider has kept them"),
        ("usd-written", float, Api.written, "dollars per million completion tokens"),
        ("latency", float, Api.latency, "seconds a call"),
        ("in-flight", int, Api.in_flight, "calls under way"),
        ("tokens-per-minute", float, None, "the provider's limit"),
        ("hit", float, 1.0, "share of what repeats that a server finds kept"),
        ("hours", float, 72.0, "in which it is to be done"),
        ("servers", int, Cluster.servers, "of one's own"),
        ("read-rate", float, Cluster.read, "tokens a second that a server reads"),
        ("write-rate", float, Cluster.written, "tokens a second that a server writes"),
        ("usd-server", float, Cluster.usd, "dollars a server and hour"),
    ):
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{told} ({default})")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables of docs/scale.md."""
    given = build_parser().parse_args(arguments)
    found = measure_all(given.people)
    print("\n\n".join(report(given, found, client_seconds())))


if __name__ == "__main__":
    main()
