"""The command `python -m evals`: measure arms and compare runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from valuesim_dspy.__main__ import add_job_options, consent, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 2 for bad input, 3 for a spent budget."""
    return run_command(build_parser(), arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; it imports nothing heavy."""
    parser = argparse.ArgumentParser(prog="python -m evals", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="measure variants, baselines or saved programs")
    run.add_argument("arms", nargs="+", metavar="PROGRAM|VARIANT|BASELINE")
    run.add_argument("--config", type=Path, required=True, metavar="JOB.TOML")
    run.add_argument("--split", choices=("dev", "test"), default="dev", help="which set to read")
    add_job_options(run)
    run.set_defaults(run=_run)
    compare = commands.add_parser("compare", help="put runs of the store side by side")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="MLflow run ids")
    compare.add_argument("--reference", default="rag", metavar="ARM")
    compare.add_argument("--store", metavar="FOLDER|URI")
    compare.set_defaults(run=_compare)
    return parser


def _run(args: argparse.Namespace) -> None:
    from evals.running import run_arms
    from valuesim_dspy.config import load_job

    config = load_job(args.config, [*args.set, *consent(args)])
    run_id, table = run_arms(config, args.arms, args.split, is_agreed=args.yes)
    print(table)
    print(f"MLflow run {run_id}; compare the arms with: make ui")


def _compare(args: argparse.Namespace) -> None:
    from evals.running import compare_runs

    print(compare_runs(args.store, args.runs, reference=args.reference))


if __name__ == "__main__":
    sys.exit(main())
