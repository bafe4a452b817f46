"""The command `python -m optimize`: compile, search, promote."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evals.__main__ import add_options, agreed
from valuesim_dspy.__main__ import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 2 for bad input, 3 for a spent budget."""
    return run_command(build_parser(), arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; it imports nothing heavy."""
    parser = argparse.ArgumentParser(prog="python -m optimize", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    job = commands.add_parser("compile", help="compile a program and measure it against RAG")
    _add_job(job)
    job.add_argument("--dry-run", action="store_true", help="say what it would do and cost; stop")
    job.set_defaults(run=_compile)
    seeds = commands.add_parser("seeds", help="the same job over several seeds, on the testset")
    _add_job(seeds)
    seeds.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="SEED")
    seeds.set_defaults(run=_seeds)
    search = commands.add_parser("search", help="search any fields of a job for the best program")
    _add_job(search)
    search.add_argument("--trials", type=int, metavar="N", help="trials of this process")
    search.set_defaults(run=_search)
    mechanics = commands.add_parser(
        "teleprompters", help="run every teleprompter once and say what it takes"
    )
    _add_job(mechanics)
    mechanics.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of them")
    mechanics.set_defaults(run=_mechanics)
    promote = commands.add_parser("promote", help="make a compiled program the champion")
    promote.add_argument("run_id", metavar="RUN", help="MLflow run of an arm, or of its job")
    promote.add_argument("--arm", help="which arm of a job; by default the variant compiled")
    promote.add_argument("--force", action="store_true", help="promote what is not shown better")
    promote.add_argument("--store", metavar="FOLDER|URI")
    promote.set_defaults(run=_promote)
    show = commands.add_parser("show", help="what compiling changed, predictor by predictor")
    show.add_argument("program", help="a folder, a packaged name, runs:/... or models:/...")
    show.add_argument("--store", metavar="FOLDER|URI")
    show.set_defaults(run=_show)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=Path, help="a TOML file, such as optimize/jobs/demo.toml")
    add_options(parser)


def _compile(args: argparse.Namespace) -> None:
    from optimize.compile import dry_run, run_job
    from valuesim_dspy.config import load_job

    config = load_job(args.job, [*args.set, *agreed(args)])
    if args.dry_run:
        print(dry_run(config))
        return
    job = run_job(config, is_agreed=args.yes)
    print(job.table)
    for arm, folder in job.programs.items():
        print(f"{arm} compiled: {folder}")
    print(f"MLflow run {job.run_id}; compare the arms with: make ui")


def _seeds(args: argparse.Namespace) -> None:
    from optimize.seeds import run_seeds
    from valuesim_dspy.config import load_job

    configs = [
        load_job(args.job, [*args.set, *agreed(args), f"seed={seed}"]) for seed in args.seeds
    ]
    print(run_seeds(configs, is_agreed=args.yes))


def _search(args: argparse.Namespace) -> None:
    from optimize.search import run_search

    overrides = [*args.set, *agreed(args)]
    print(run_search(args.job, overrides, trials=args.trials, is_agreed=args.yes))


def _mechanics(args: argparse.Namespace) -> None:
    from optimize.mechanics import run_mechanics
    from valuesim_dspy.config import load_job

    config = load_job(args.job, [*args.set, *agreed(args)])
    print(run_mechanics(config, args.only, is_agreed=args.yes))


def _promote(args: argparse.Namespace) -> None:
    from optimize.promote import promote_run

    print(promote_run(args.run_id, arm=args.arm, store=args.store, force=args.force))


def _show(args: argparse.Namespace) -> None:
    from optimize.show import show_program

    print(show_program(args.program, store=args.store))


if __name__ == "__main__":
    sys.exit(main())
