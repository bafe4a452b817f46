"""The command `python -m optimize`: compile jobs."""

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
    parser = argparse.ArgumentParser(prog="python -m optimize", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    job = commands.add_parser("compile", help="compile a program and measure it against RAG")
    _add_job(job)
    job.set_defaults(run=_compile)
    seeds = commands.add_parser("seeds", help="the same job over several seeds, on the testset")
    _add_job(seeds)
    seeds.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="SEED")
    seeds.set_defaults(run=_seeds)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=Path, help="a TOML file, such as optimize/jobs/demo.toml")
    add_job_options(parser)


def _compile(args: argparse.Namespace) -> None:
    from optimize.compile import run_job
    from valuesim_dspy.config import load_job

    job = run_job(load_job(args.job, [*args.set, *consent(args)]), is_agreed=args.yes)
    print(job.table)
    for arm, folder in job.programs.items():
        print(f"{arm} compiled: {folder}")
    print(f"MLflow run {job.run_id}; compare the arms with: make ui")


def _seeds(args: argparse.Namespace) -> None:
    from optimize.seeds import run_seeds
    from valuesim_dspy.config import load_job

    configs = [
        load_job(args.job, [*args.set, *consent(args), f"seed={seed}"]) for seed in args.seeds
    ]
    print(run_seeds(configs, is_agreed=args.yes))


if __name__ == "__main__":
    sys.exit(main())
