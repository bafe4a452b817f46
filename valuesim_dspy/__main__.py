"""The command `valuesim`: look at survey files, ask people questions, open the runs."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from valuesim_dspy import __version__
from valuesim_dspy.ending import status_of, told_to_end
from valuesim_dspy.errors import BudgetExceededError, ConfigError, ValueSimError
from valuesim_dspy.interviewing import add_interview_command
from valuesim_dspy.simulating import add_merge_command, add_simulate_command

EXIT_ERROR, EXIT_BUDGET = 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    0, 1 for a check that failed, 2 for bad input, 3 for a spent budget.
    """
    parser = build_parser()
    return run_command(parser, arguments)


def run_command(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse and run; turn what is raised into one line and an exit status.

    Args:
        parser: Its namespace has `run`, a function of the namespace; it returns an exit status,
            or None for 0.
        arguments: The command line; that of the process by default.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    parsed = parser.parse_args(arguments)
    try:
        with told_to_end(is_process=arguments is None):
            status = parsed.run(parsed)
        sys.stdout.flush()
    except BudgetExceededError as error:
        return _say(str(error), EXIT_BUDGET)
    except ValueSimError as error:
        return _say(str(error), EXIT_ERROR)
    except KeyboardInterrupt as error:
        return _say("interrupted; what was done is kept", status_of(error))
    except BrokenPipeError:
        # Nobody reads on; what is still in the buffer must not fail when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # a command ends in one line, never in a traceback
        from valuesim_dspy.roles import blank_secrets

        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        text = blank_secrets(" ".join(str(error).split()))[:300]
        return _say(f"unexpected {type(error).__name__}: {text}", EXIT_ERROR)
    return int(status or 0)


def _say(message: str, status: int) -> int:
    print(f"error: {message}" if status == EXIT_ERROR else message, file=sys.stderr)
    return status


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that runs a job takes."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a key of the job file: --set task_lm.model=openai/gpt-4o-mini",
    )
    parser.add_argument(
        "--send-to",
        action="append",
        default=[],
        metavar="HOST",
        help="agree that answers of real people are sent to this host",
    )
    parser.add_argument("--yes", action="store_true", help="agree to a large estimate")


def consent(args: argparse.Namespace) -> list[str]:
    """Return `--send-to` as an override of a job's config."""
    return [f"send_to={json.dumps(args.send_to)}"] if args.send_to else []


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `valuesim`; it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="valuesim", description="Simulate how one individual answers questions about values."
    )
    parser.add_argument("--version", action="version", version=f"valuesim-dspy {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(commands.add_parser("data", help="make, check and describe survey files"))
    _add_ask(commands.add_parser("ask", help="ask one person one question"))
    add_interview_command(commands, rival=_rag)
    add_simulate_command(commands)
    add_merge_command(commands)
    _add_ui(commands.add_parser("ui", help="open the MLflow UI on the project's runs"))
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    synth = commands.add_parser("synth", help="write a synthetic population as an official CSV")
    synth.add_argument("--respondents", type=int, default=5000, metavar="N")
    synth.add_argument("--seed", type=int, default=42)
    what = synth.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FILE")
    what.add_argument("--validate", action="store_true", help="check it; status 1 if that fails")
    synth.add_argument(
        "--official-shape", action="store_true", help="all 613 columns, those unused filled"
    )
    synth.set_defaults(run=_synth)
    check = commands.add_parser("check", help="read a file and say what was found in it")
    check.add_argument("file", type=Path)
    check.add_argument("--json", action="store_true", help="print one JSON object")
    _add_codebook(check)
    check.set_defaults(run=_check)
    describe = commands.add_parser("describe", help="show how questions were answered")
    describe.add_argument("file", type=Path)
    describe.add_argument("--question", metavar="Q57", help="one question; else an overview")
    describe.add_argument("--country", metavar="JPN", help="ISO 3166 alpha-3 code")
    describe.add_argument("--plot", type=Path, metavar="OUT.PNG", help="draw it, too")
    _add_codebook(describe)
    describe.set_defaults(run=_describe)
    _add_export(commands.add_parser("export", help="write answers with labels for SPSS, Stata, R"))
    labels = commands.add_parser("codebook", help="make a codebook from a file with labels")
    labels.add_argument("file", type=Path, help="an SPSS (.sav) or Stata (.dta) file")
    labels.add_argument("-o", "--out", type=Path, required=True, metavar="MY_CODEBOOK.YAML")
    labels.add_argument("--id", help="the codebook's name; by default that of its file")
    labels.set_defaults(run=_codebook)
    folds = commands.add_parser("folds", help="show the folds and what leaks in each")
    folds.add_argument("file", type=Path)
    folds.add_argument(
        "--folds", choices=("battery", "topic", "question", "paper"), default="battery"
    )
    folds.add_argument("--seed", type=int, default=42)
    folds.add_argument(
        "--dependence", type=_threshold, default=0.35, metavar="V", help='a threshold, or "none"'
    )
    _add_codebook(folds)
    folds.set_defaults(run=_folds)


def _threshold(text: str) -> float | None:
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, and not none") from None


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.SAV|.DTA|.CSV")
    parser.add_argument("--questions", metavar="Q1,Q57-Q63", help="some questions; else all")
    _add_codebook(parser)
    parser.set_defaults(run=_export)


def _add_codebook(parser: Any) -> None:
    parser.add_argument("--codebook", default="wvs7", help="packaged name, file or folder")
    parser.add_argument("--wording", type=Path, metavar="FILE", help="official wording, as CSV")


def _add_ask(parser: argparse.ArgumentParser) -> None:
    who = parser.add_argument_group("the person")
    who.add_argument("--person", type=Path, metavar="ME.TOML", help="one's own person")
    who.add_argument("--survey", type=Path, metavar="FILE", help="a survey file ...")
    who.add_argument("--respondent", metavar="ID", help="... and a D_INTERVIEW in it")
    what = parser.add_argument_group("the question")
    what.add_argument("--question", metavar="Q46", help="a question of the codebook")
    what.add_argument("--text", help="one's own question ...")
    what.add_argument("--option", action="append", default=[], help="... and its options in order")
    _add_codebook(what)
    how = parser.add_argument_group("the answer")
    how.add_argument("--program", default="full", help="a variant, a folder or runs:/<id>/program")
    how.add_argument("--model", default="offline/lexical-1", help="any model string of LiteLLM")
    how.add_argument("--api-base", help="address of an OpenAI-compatible server")
    how.add_argument("--api-key-env", metavar="NAME", help="variable that holds the key")
    how.add_argument("--send-to", action="append", default=[], metavar="HOST")
    how.add_argument("--why", action="store_true", help="print backstory, analyses and decision")
    parser.set_defaults(run=_ask)


def _add_ui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.set_defaults(run=_ui)


def _synth(args: argparse.Namespace) -> int:
    from valuesim_dspy.survey.synthetic import synthesize, write_synthetic
    from valuesim_dspy.survey.validation import validate_population, validation_lines

    if args.respondents < 1:
        raise ConfigError("must be at least 1", key="--respondents", value=args.respondents)
    if args.validate:
        checks = validate_population(synthesize(args.respondents, seed=args.seed))
        print("\n".join(validation_lines(checks)))
        return int(any(check.passed is False for check in checks))
    if args.out.is_dir():
        raise ConfigError(f"{args.out} is a folder; give the name of a file", key="--out")
    path = write_synthetic(
        args.out, args.respondents, seed=args.seed, official_shape=args.official_shape
    )
    print(f"{path}: {args.respondents} synthetic respondents, seed {args.seed}; not survey data")
    return 0


def _check(args: argparse.Namespace) -> None:
    from valuesim_dspy.survey.inspecting import check_lines, inspect_respondents

    respondents = _survey(args)
    if args.json:
        found = respondents.report.as_dict() | inspect_respondents(respondents).as_dict()
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(check_lines(respondents)))


def _describe(args: argparse.Namespace) -> None:
    from valuesim_dspy.survey.describing import distribution, distribution_lines, overview_lines
    from valuesim_dspy.survey.plotting import plot_distribution, plot_overview

    respondents, country = _survey(args), args.country
    if args.question is None:
        print("\n".join(overview_lines(respondents, country=country)))
        drawn = args.plot and plot_overview(respondents, args.plot, country=country)
    else:
        found = distribution(respondents, args.question, country=country)
        print("\n".join(distribution_lines(found)))
        drawn = args.plot and plot_distribution(found, args.plot)
    if drawn:
        print(f"drawn: {drawn}")


def _codebook(args: argparse.Namespace) -> None:
    from valuesim_dspy.survey.drafting import draft_codebook

    print("\n".join(draft_codebook(args.file, args.out, id=args.id)))


def _folds(args: argparse.Namespace) -> None:
    from valuesim_dspy.survey.leakage import fold_lines

    found = fold_lines(
        _survey(args), strategy=args.folds, seed=args.seed, threshold=args.dependence
    )
    for line in found:
        print(line, flush=True)


def _export(args: argparse.Namespace) -> None:
    from valuesim_dspy.survey.exporting import export_respondents, select_questions

    respondents = _survey(args)
    chosen = args.questions and select_questions(respondents.codebook, args.questions)
    for path in export_respondents(respondents, args.out, questions=chosen or None):
        print(f"{path}: written, readable by you only")


def _survey(args: argparse.Namespace) -> Any:
    from valuesim_dspy.survey.own_wording import open_codebook
    from valuesim_dspy.survey.respondents import read_respondents

    return read_respondents(args.file, codebook=open_codebook(args.codebook, args.wording))


def _ask(args: argparse.Namespace) -> None:
    from valuesim_dspy.asking import ask

    print("\n".join(ask(args)))


def _rag(*known: Any) -> Any:
    try:
        from evals.rival import build_rag
    except ModuleNotFoundError:  # an installed package has no baselines
        return None
    return build_rag(*known)


def _ui(args: argparse.Namespace) -> None:
    from valuesim_dspy.ui import run_ui

    run_ui(port=args.port, host=args.host)


if __name__ == "__main__":
    sys.exit(main())
