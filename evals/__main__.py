"""The command `python -m evals`: measure arms and compare runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valuesim_dspy.__main__ import add_job_options, consent, run_command

if TYPE_CHECKING:
    from valuesim_dspy.config import JobConfig


class AnyOrderParser(argparse.ArgumentParser):
    """Takes arms before, after and in between options; argparse alone wants them together."""

    _is_splitting = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse options first, then what is left."""
        if self._is_splitting:
            return super().parse_known_args(args, namespace)
        self._is_splitting = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_splitting = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 2 for bad input, 3 for a spent budget."""
    return run_command(build_parser(), arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; it imports nothing heavy."""
    parser = argparse.ArgumentParser(prog="python -m evals", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=AnyOrderParser)
    run = commands.add_parser("run", help="measure variants, baselines or saved programs")
    run.add_argument("arms", nargs="+", metavar="PROGRAM|VARIANT|BASELINE")
    run.add_argument("--config", type=Path, required=True, metavar="JOB.TOML")
    run.add_argument("--split", choices=("dev", "test"), default="dev", help="which set to read")
    _add_job(run)
    run.set_defaults(run=_run)
    ablate = commands.add_parser("ablate", help="one factor at a time, within a budget")
    ablate.add_argument("job", type=Path, metavar="JOB.TOML")
    ablate.add_argument("arms", nargs="*", metavar="ARM", help="by default the whole grid")
    ablate.add_argument("--full", action="store_true", help="all folds and all targets")
    ablate.add_argument("--split", choices=("dev", "test"), default="dev")
    _add_job(ablate)
    ablate.set_defaults(run=_ablate)
    history = commands.add_parser("history", help="the learning curve of one person's answers")
    history.add_argument("job", type=Path, metavar="JOB.TOML")
    history.add_argument("--split", choices=("dev", "test"), default="dev")
    _add_sizes(history, people=20, targets=8)
    _add_job(history)
    history.set_defaults(run=_history)
    robustness = commands.add_parser("robustness", help="the same question put another way")
    robustness.add_argument("job", type=Path, metavar="JOB.TOML")
    robustness.add_argument("arms", nargs="*", metavar="ARM", help="by default variant and RAG")
    robustness.add_argument("--split", choices=("dev", "test"), default="dev")
    _add_sizes(robustness, people=20, targets=6)
    _add_job(robustness)
    robustness.set_defaults(run=_robustness)
    contamination = commands.add_parser("contamination", help="what the model recalls unasked")
    contamination.add_argument("job", type=Path, metavar="JOB.TOML")
    contamination.add_argument("--split", choices=("dev", "test"), default="dev")
    _add_sizes(contamination, people=40, targets=8)
    _add_job(contamination)
    contamination.set_defaults(run=_contamination)
    report = commands.add_parser("report", help="one page of runs: HTML, Markdown, CSV, LaTeX")
    report.add_argument("runs", nargs="+", metavar="RUN", help="MLflow run ids")
    report.add_argument("--out", type=Path, default=Path("report"), metavar="FOLDER")
    report.add_argument("--store", metavar="FOLDER|URI")
    report.set_defaults(run=_report)
    compare = commands.add_parser("compare", help="put runs of the store side by side")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="MLflow run ids")
    compare.add_argument("--reference", default="rag", metavar="ARM")
    compare.add_argument("--store", metavar="FOLDER|URI")
    compare.set_defaults(run=_compare)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", choices=("fair", "paper"), help="in place of the job's")
    parser.add_argument("--folds", choices=("question", "battery", "topic", "paper"))
    parser.add_argument("--fold", type=int, metavar="N", help="which of the five")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every job takes that may be kept on a tracking server."""
    add_job_options(parser)
    parser.add_argument(
        "--share-rows",
        action="store_true",
        help="let rows of people go to a tracking server on another machine",
    )


def agreed(args: argparse.Namespace) -> list[str]:
    """Return what was agreed to as overrides of a job's config."""
    return [*consent(args), *(["share_rows=true"] if args.share_rows else [])]


def _add_sizes(parser: argparse.ArgumentParser, *, people: int, targets: int) -> None:
    parser.add_argument("--people", type=int, default=people, metavar="N", help="0 for all")
    parser.add_argument("--targets", type=int, default=targets, metavar="N", help="0 for all")


def _sizes(args: argparse.Namespace) -> dict[str, int | None]:
    return {"people": args.people or None, "targets": args.targets or None}


def _config(args: argparse.Namespace, path: Path) -> JobConfig:
    from evals.protocols import protocol_overrides
    from valuesim_dspy.config import load_job

    chosen = protocol_overrides(args.protocol, args.folds, args.fold)
    return load_job(path, [*chosen, *args.set, *agreed(args)])


def _run(args: argparse.Namespace) -> None:
    from evals.running import run_arms

    config = _config(args, args.config)
    run_id, table = run_arms(config, args.arms, args.split, is_agreed=args.yes)
    print(table)
    print(f"MLflow run {run_id}; compare the arms with: make ui")


def _compare(args: argparse.Namespace) -> None:
    from evals.running import compare_runs

    print(compare_runs(args.store, args.runs, reference=args.reference))


def _ablate(args: argparse.Namespace) -> None:
    from evals.ablation import run_ablation
    from optimize.ablating import build_or_compile

    made = {"full": args.full, "make": build_or_compile, "is_agreed": args.yes}
    made["strengths"] = (args.folds,) if args.folds else ()
    print(run_ablation(_config(args, args.job), args.arms, args.split, **made))


def _history(args: argparse.Namespace) -> None:
    from evals.history import run_history

    print(run_history(_config(args, args.job), args.split, is_agreed=args.yes, **_sizes(args)))


def _robustness(args: argparse.Namespace) -> None:
    from evals.robustness import run_robustness

    config, known = _config(args, args.job), {"is_agreed": args.yes, **_sizes(args)}
    print(run_robustness(config, args.arms, args.split, **known))


def _contamination(args: argparse.Namespace) -> None:
    from evals.contamination import run_contamination

    known = {"is_agreed": args.yes, **_sizes(args)}
    print(run_contamination(_config(args, args.job), args.split, **known))


def _report(args: argparse.Namespace) -> None:
    from evals.reporting import write_report

    print(write_report(args.runs, args.out, store=args.store))


if __name__ == "__main__":
    sys.exit(main())
