"""The command `valuesim interview`: its options, its consent, and what it puts together."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valuesim_dspy.errors import ConfigError, MissingDataError
from valuesim_dspy.private_files import private_draft

if TYPE_CHECKING:
    from valuesim_dspy.interview_session import Rival
    from valuesim_dspy.roles import LMRole
    from valuesim_dspy.survey.codebook import Codebook

REFUSED = 1
"""Exit status where the person did not agree."""


def add_interview_command(commands: Any, rival: Rival | None = None) -> None:
    """Add `interview` to the commands.

    Args:
        commands: Subparsers.
        rival: Makes the baseline that guesses, too: RAG.
    """
    parser = commands.add_parser("interview", help="guess a person's answers, ask, and learn")
    who = parser.add_argument_group("the person")
    who.add_argument("--person", required=True, metavar="ID", help="any name, kept as a hash")
    who.add_argument("--people", metavar="FILE|URL", help="where people are kept")
    who.add_argument("--survey", type=Path, metavar="FILE", help="a survey file")
    who.add_argument("--auto", action="store_true", help="--person is a D_INTERVIEW, which answers")
    who.add_argument("--known", metavar="Q1,Q57-Q63", help="answers told beforehand, with --auto")
    who.add_argument("--yes", action="store_true", help="the person has read the text and agrees")
    what = parser.add_argument_group("the questions")
    what.add_argument("--questions", metavar="Q1,Q57-Q63", help="else values and attitudes")
    what.add_argument("--most", type=int, metavar="N", help="ask at most so many now")
    what.add_argument(
        "--informative", action="store_true", help="next what tells most, learned from --survey"
    )
    what.add_argument("--codebook", default="wvs7", help="packaged name, file or folder")
    what.add_argument("--wording", type=Path, metavar="FILE", help="official wording, as CSV")
    how = parser.add_argument_group("the guess")
    how.add_argument("--program", default="full", help="a variant, a folder or runs:/<id>/program")
    how.add_argument("--model", default="offline/lexical-1", help="any model string of LiteLLM")
    how.add_argument("--api-base", help="address of an OpenAI-compatible server")
    how.add_argument("--api-key-env", metavar="NAME", help="variable that holds the key")
    how.add_argument("--send-to", action="append", default=[], metavar="HOST")
    how.add_argument("--revise", action="store_true", help="afterwards, revise the backstory")
    kept = parser.add_argument_group("what is kept (nothing is asked)")
    kept.add_argument("--forget", metavar="all|Q57,Q60-Q63", help="delete it")
    kept.add_argument("--export", type=Path, metavar="FILE", help="write it as JSON")
    parser.set_defaults(run=lambda args: run(args, rival=rival))


def run(
    args: argparse.Namespace,
    *,
    rival: Rival | None = None,
    say: Callable[[str], object] = print,
    listen: Callable[[], str] | None = None,
) -> int:
    """Run the command; return its exit status.

    Args:
        args: The command line.
        rival: See `add_interview_command`.
        say: Shows a line.
        listen: Reads a line, "" at the end of what there is; standard input by default.

    Raises:
        ConfigError: Options contradict each other.
        MissingDataError: The person is not in the store or the survey.
        PredictionError: The model gave no usable reply; what was answered is kept.
    """
    from valuesim_dspy.interview_session import Session
    from valuesim_dspy.survey.own_wording import open_codebook
    from valuesim_dspy.survey.respondents import read_respondents

    codebook = open_codebook(args.codebook, args.wording)
    if args.forget is not None or args.export is not None:
        return _hand_over(args, codebook, say)
    for flag, given in (("--auto", args.auto), ("--informative", args.informative)):
        if given and args.survey is None:
            raise ConfigError("needs --survey FILE", key=flag)
    if args.known and not args.auto:
        raise ConfigError("needs --survey FILE --auto", key="--known")
    survey = read_respondents(args.survey, codebook=codebook) if args.survey else None
    row = survey.by_id(args.person) if survey is not None and args.auto else None
    role = _role(args, synthetic=row is not None and survey is not None and survey.synthetic)
    session = Session(args, codebook, role, survey, row, say, listen or sys.stdin.readline)
    questions = session.questions()
    person = session.person()
    if person is None:
        say("Nothing was asked, and nothing was written.")
        return REFUSED
    session.interview(person, questions, rival)
    return 0


def _hand_over(args: argparse.Namespace, codebook: Codebook, say: Callable[[str], object]) -> int:
    from valuesim_dspy.interview_session import open_people

    people = open_people(args, codebook, create=False)
    person = people.person(args.person) if people is not None else None
    if person is None:
        raise MissingDataError("this person is not remembered", "check --person and --people")
    if args.export is not None:
        _write_private(args.export, person.export() + "\n")
        sealed = "open guesses stay sealed"
        say(f"{args.export}: everything that is kept, readable by you only; {sealed}")
    if args.forget is not None:
        gone = person.forget(args.forget)
        say(f"forgotten: {args.forget} ({gone})")
    return 0


def _write_private(path: Path, text: str) -> None:
    """Write a file that appears whole, readable by its owner only, in place of one of its name."""
    try:
        # What a link leads to may be a device, or be read by others under its own name.
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ConfigError(f"{path} is a link or no file; name a file", key="--export")
        with private_draft(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"{path} cannot be written: {why}", key="--export") from None


def _role(args: argparse.Namespace, *, synthetic: bool) -> LMRole:
    from valuesim_dspy.config import parse_job
    from valuesim_dspy.preflight import require_consent

    given = {"model": args.model, "api_base": args.api_base, "api_key_env": args.api_key_env}
    role = parse_job({"task_lm": {k: v for k, v in given.items() if v is not None}}).task_lm
    require_consent(role, 1, synthetic=synthetic, send_to=args.send_to)
    return role
