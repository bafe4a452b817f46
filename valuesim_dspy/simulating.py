"""The commands `valuesim simulate` and `valuesim merge`: their options, and what these mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valuesim_dspy.errors import ConfigError

if TYPE_CHECKING:
    from valuesim_dspy.config import JobConfig
    from valuesim_dspy.plan import Plan
    from valuesim_dspy.simulation import Simulation

CONFIRM_CALLS = 20_000
SETTABLE = ("task_lm", "limits", "budget")


class OwnAction(argparse.Action):
    """Collect one's own questions: each `--text` begins one and takes the options behind it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Begin a question, or add an option to the last one."""
        own = [(text, list(options)) for text, options in getattr(namespace, self.dest) or []]
        if option_string == "--text":
            own.append((values, []))
        elif own:
            own[-1][1].append(values)
        else:
            parser.error("--option: belongs behind the --text of its question")
        setattr(namespace, self.dest, own)


def add_simulate_command(commands: Any) -> None:
    """Add `simulate` to the commands.

    Args:
        commands: Subparsers.
    """
    parser = commands.add_parser("simulate", help="ask many people many questions")
    who = parser.add_argument_group("the people")
    who.add_argument("--survey", type=Path, required=True, metavar="FILE", help="a survey file")
    who.add_argument("--sample", type=int, metavar="N", help="so many of them, drawn; else all")
    who.add_argument("--seed", type=int, default=42, metavar="S", help="of that draw")
    who.add_argument("--country", action="append", default=[], metavar="JPN", help="repeatable")
    what = parser.add_argument_group("the questions")
    what.add_argument(
        "--questions",
        action="append",
        default=[],
        metavar="Q1,Q57-Q63,..",
        help="or all, battery:NAME, topic:NAME, in a list",
    )
    what.add_argument("--text", dest="own", action=OwnAction, help="a question of your own ...")
    what.add_argument(
        "--option", dest="own", action=OwnAction, help="... and its options in order; repeatable"
    )
    what.add_argument(
        "--hide",
        choices=("question", "battery", "topic"),
        default="question",
        help="what is not known of a person beside what is asked",
    )
    what.add_argument(
        "--parts",
        type=int,
        metavar="K",
        help="deal what is asked into K parts; a part's questions hide that part alone",
    )
    what.add_argument(
        "--together", metavar="battery|N", help="a battery, or N questions, share a request"
    )
    _add_codebook(what)
    _add_model(parser.add_argument_group("the answers"))
    out = parser.add_argument_group("the output")
    out.add_argument("--out", type=Path, required=True, metavar="ANSWERS.PARQUET|.CSV")
    out.add_argument("--ids", action="store_true", help="with the survey's interview numbers")
    out.add_argument("--retry-failed", action="store_true", help="ask again what was not answered")
    out.add_argument("--shard", metavar="I/N", help="the I-th of N parts; then valuesim merge")
    out.add_argument("--engine", choices=("local", "ray"), default="local")
    out.add_argument("--workers", type=int, metavar="N", help="of the Ray engine")
    parser.set_defaults(run=run)


def add_merge_command(commands: Any) -> None:
    """Add `merge` to the commands.

    Args:
        commands: Subparsers.
    """
    parser = commands.add_parser("merge", help="make one output of the parts of a simulation")
    parser.add_argument("--out", type=Path, required=True, metavar="ANSWERS.PARQUET|.CSV")
    parser.add_argument("--codebook", help="where labels stand; wvs7 if --wording is given")
    parser.add_argument("--wording", type=Path, metavar="FILE", help="official wording, as CSV")
    parser.set_defaults(run=run_merge)


def _add_codebook(group: Any) -> None:
    group.add_argument("--codebook", default="wvs7", help="packaged name, file or folder")
    group.add_argument("--wording", type=Path, metavar="FILE", help="official wording, as CSV")


def _add_model(how: Any) -> None:
    how.add_argument("--program", help="a variant (full), a folder or runs:/<id>/program")
    how.add_argument("--model", default="offline/lexical-1", help="any model string of LiteLLM")
    how.add_argument("--api-base", help="address of an OpenAI-compatible server")
    how.add_argument("--api-key-env", metavar="NAME", help="variable that holds the key")
    how.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of task_lm, limits or budget: --set task_lm.max_tokens=512",
    )
    how.add_argument("--send-to", action="append", default=[], metavar="HOST")
    how.add_argument("--in-flight", type=int, metavar="N", help="calls at once; 64")
    how.add_argument("--calls-per-minute", type=int, metavar="N")
    how.add_argument("--tokens-per-minute", type=int, metavar="N")
    how.add_argument("--budget-calls", type=int, metavar="N", help="pay for at most so many")
    how.add_argument("--budget-tokens", type=int, metavar="N")
    how.add_argument("--budget-usd", type=float, metavar="X")
    how.add_argument("--confirm-calls", type=int, default=CONFIRM_CALLS, metavar="N")
    how.add_argument("--yes", action="store_true", help="agree to more calls than that")


def run(args: argparse.Namespace) -> int:
    """Run `valuesim simulate`; return its exit status.

    Raises:
        BudgetExceededError: The budget is spent; the journal is kept.
        ConfigError: Options contradict each other, or a large estimate was not agreed to.
        MissingDataError: A file, the program or a key is absent.
    """
    from valuesim_dspy.simulation import run_simulation

    return run_simulation(requested(args), say=_say)


def requested(args: argparse.Namespace) -> Simulation:
    """Return what the command line asks for, checked.

    Raises:
        ConfigError: An option does not fit.
        UnknownQuestionError: The codebook has no such question.
    """
    from valuesim_dspy.sharding import parse_shard
    from valuesim_dspy.simulation import Simulation

    config = _config(args)
    if args.ids and args.shard:
        told = "parts are merged without the survey: leave out --ids, or --shard"
        raise ConfigError(told, key="--ids")
    if args.workers is not None and (args.engine != "ray" or args.workers < 1):
        raise ConfigError("at least 1, with --engine ray", key="--workers", value=args.workers)
    return Simulation(
        plan=_plan(args, config),
        out=args.out,
        config=config,
        shard=parse_shard(args.shard) if args.shard else None,
        ids=args.ids,
        retry_failed=args.retry_failed,
        agreed=args.yes,
        workers=(args.workers or 0) if args.engine == "ray" else None,
    )


def run_merge(args: argparse.Namespace) -> None:
    """Run `valuesim merge`.

    Raises:
        ConfigError: The journals are of different runs, or the output cannot be written.
        MissingDataError: Parts or rows are missing.
    """
    from contextlib import ExitStack

    from valuesim_dspy.answers_file import check_output, unlabelled, write_answers
    from valuesim_dspy.sharding import open_all, status_lines
    from valuesim_dspy.survey.own_wording import open_codebook

    check_output(args.out)
    named = args.codebook or args.wording
    codebook = open_codebook(args.codebook or "wvs7", args.wording) if named else None
    with ExitStack() as stack:
        journals = open_all(args.out)
        for journal in journals:
            stack.enter_context(journal)
        write_answers(journals, args.out, codebook=codebook)
        _say(f"{args.out}: {journals[0].total:,} rows of {len(journals)} parts, private")
        for line in status_lines(journals):
            _say(line)
        if lacking := unlabelled(journals[0].arguments, codebook):
            _say(
                f"no labels are written for {len(lacking):,} of the questions: the run was made "
                "with a codebook or a wording of its own; merge with --codebook and --wording"
            )


def _config(args: argparse.Namespace) -> JobConfig:
    """Return model, limits and budget as a job has them, from the options and `--set`."""
    from valuesim_dspy.config import override_key, parse_job

    tables: dict[str, Any] = {
        "task_lm": _given(args, model="model", api_base="api_base", api_key_env="api_key_env"),
        "limits": _given(
            args,
            in_flight="in_flight",
            calls_per_minute="calls_per_minute",
            tokens_per_minute="tokens_per_minute",
        ),
        "budget": _given(args, calls="budget_calls", tokens="budget_tokens", usd="budget_usd"),
        "send_to": args.send_to,
        "confirm_calls": args.confirm_calls,
    }
    for override in args.set:
        if override.partition(".")[0].strip() not in SETTABLE:
            raise ConfigError(f"{override!r} sets nothing here", key="--set", allowed=SETTABLE)
        override_key(tables, override)
    return parse_job(tables)


def _given(args: argparse.Namespace, **names: str) -> dict[str, Any]:
    found = {key: getattr(args, name) for key, name in names.items()}
    return {key: value for key, value in found.items() if value is not None}


def _plan(args: argparse.Namespace, config: JobConfig) -> Plan:
    from pydantic import ValidationError

    from valuesim_dspy.plan import ALL_PARTS, OwnQuestion, Plan, choose_questions
    from valuesim_dspy.survey.own_wording import open_codebook

    codebook = open_codebook(args.codebook, args.wording)
    questions = ",".join(args.questions)
    asked: Sequence[str] = choose_questions(codebook, questions) if questions else ()
    everything = "all" in [part.strip() for part in questions.split(",")]
    if args.together is not None and args.program is not None:
        raise ConfigError("is a program of its own: leave out --program", key="--together")
    own = []
    for text, options in args.own or []:
        if len(options) < 2:
            raise ConfigError(f"{text!r} needs at least two, in their order", key="--option")
        if not text.strip() or not all(option.strip() for option in options):
            raise ConfigError("is empty: write the question and its options", key="--text")
        own.append(OwnQuestion(text=text, options=tuple(options)))
    try:
        return Plan(
            program=args.program or "full",
            survey=str(args.survey),
            codebook=args.codebook,
            wording=str(args.wording) if args.wording else None,
            questions=tuple(asked),
            own=tuple(own),
            hide=args.hide,
            parts=args.parts if args.parts is not None else ALL_PARTS if everything else 1,
            sample=args.sample,
            seed=args.seed,
            countries=tuple(args.country),
            together=args.together,
            lm=config.task_lm,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(message, key=f"--{name}" if name else "--together") from None


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
