"""`evals report`: one page of runs, with every table as CSV and LaTeX, and cards of programs."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evals.model_card import promoted_cards
from evals.report_arms import Evidence
from evals.report_latex import latex_table
from evals.report_page import Picture, Section, html_page, markdown_page, markdown_table
from evals.report_parts import (
    closing_sections,
    opening_section,
    prompts_section,
    setting_sections,
)
from evals.report_reading import read_evidence
from evals.report_tables import Table
from evals.report_words import prompt_digests, prompts_digest
from evals.tracking import Tracker
from valuesim_dspy.errors import ConfigError, ValueSimError

PAGE, MARKDOWN, LISTING = "report.html", "report.md", "files.txt"
FOLDERS = ("tables", "latex", "pictures", "cards")
ARTIFACT = "report"


def write_report(runs: Sequence[str], out: str | Path, *, store: str | Path | None = None) -> str:
    """Write the report of some runs and return what is printed.

    `report.html` needs nothing but itself; `report.md` is the same as text; `tables/*.csv` and
    `latex/*.tex` hold every table, `pictures/*.png` every picture, `cards/*.md` a card of each
    promoted program among the runs. All of it is aggregates, and is logged to the first run.

    Args:
        runs: Runs of jobs, which stand for all their arms, or runs of arms.
        out: The folder; made for its owner only. An earlier report in it is replaced.
        store: As in a job's config.

    Raises:
        MissingDataError: There is no such run.
        ConfigError: No runs, or the folder holds something that is no report.
        ValueSimError: The folder cannot be written.
    """
    if not runs:
        raise ConfigError("give the runs that the report is of", key="runs")
    folder = Path(out)
    check_folder(folder)
    tracker = Tracker(store)
    evidence = read_evidence(tracker, runs)
    files, sections = report_files(tracker, evidence, datetime.date.today())
    write_files(folder, files)
    # From a folder of its own: nothing that was left in the other may go along.
    with tempfile.TemporaryDirectory(prefix="valuesim-report-") as draft:
        whole = Path(draft) / ARTIFACT
        write_files(whole, files)
        tracker.log_folder(runs[0], whole, ARTIFACT)
    return _said(folder, runs[0], files, sections)


def report_files(
    tracker: Tracker, evidence: Evidence, date: datetime.date
) -> tuple[dict[str, bytes], list[Section]]:
    """Return every file of a report by its path in the folder, and the sections of the page.

    Args:
        tracker: Where prompts and programs are read.
        evidence: What was read of the runs.
        date: Told in the page and in captions.
    """
    cards = promoted_cards(tracker, evidence)
    told = {f"cards/{name}.md": f"{what}: cards/{name}.md" for name, (what, _) in cards.items()}
    files = {f"cards/{name}.md": text.encode() for name, (_, text) in cards.items()}
    sections = [opening_section(evidence, date.isoformat(), told)]
    count = len(evidence.settings)
    facts = f"written on {date.isoformat()}"
    for place, setting in enumerate(evidence.settings, 1):
        digests = prompt_digests(tracker, setting.arms)
        own = [
            *setting_sections(setting, place, count),
            prompts_section(setting, digests, place, count),
        ]
        known = f"Model {setting.arms[0].params['task_lm']}; prompts {prompts_digest(digests)}"
        files |= _tables(own, f"{known}; {facts}")
        sections += own
    closing = closing_sections(evidence)
    models = ", ".join(sorted({str(job.tags.get("task_lm", "")) for job in evidence.jobs} - {""}))
    files |= _tables(closing, f"Model {models or 'unknown'}; {facts}")
    sections += closing
    title = (
        f"ValueSim: {', '.join(dict.fromkeys(j.name for j in evidence.jobs if j.name)) or 'arms'}"
    )
    files[PAGE] = html_page(title, sections).encode()
    files[MARKDOWN] = markdown_page(title, sections).encode()
    files[LISTING] = "".join(f"{name}\n" for name in sorted([*files, LISTING])).encode()
    return files, sections


def check_folder(folder: Path) -> None:
    """Check that a report may be written to a folder.

    Raises:
        ConfigError: It is a file, or holds something that is no report.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError("this is a file, not a folder", key="out", value=str(folder))
    if folder.is_dir() and any(folder.iterdir()) and not (folder / LISTING).is_file():
        raise ConfigError(
            "the folder is not empty and holds no report; give a new one",
            key="out",
            value=str(folder),
        )


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files, for their owner only; those of an earlier report are removed first.

    Raises:
        ValueSimError: The folder cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for path in _earlier(folder):
            path.unlink(missing_ok=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)
            path.chmod(0o600)
            path.write_bytes(content)
    except OSError as error:
        raise ValueSimError(
            f"the report cannot be written to {folder} ({error.strerror})"
        ) from None


def _earlier(folder: Path) -> list[Path]:
    """Return the tables, pictures and cards of the report that is there: they alone are removed."""
    listing = folder / LISTING
    names = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    known = [name.split("/") for name in names]
    return [folder / n[0] / n[1] for n in known if len(n) == 2 and n[0] in FOLDERS and n[1] != ".."]


def _tables(sections: Iterable[Section], facts: str) -> dict[str, bytes]:
    """Return the files of every table and picture."""
    files: dict[str, bytes] = {}
    for part in (part for section in sections for part in section.parts):
        if isinstance(part, Table):
            files[f"tables/{part.name}.csv"] = part.frame.to_csv(index=False).encode()
            files[f"latex/{part.name}.tex"] = latex_table(part, facts).encode()
        elif isinstance(part, Picture):
            files[f"pictures/{part.name}.png"] = part.png
    return files


def _said(folder: Path, run: str, files: Mapping[str, bytes], sections: Sequence[Section]) -> str:
    """Return the first tables and where everything is."""
    blocks = [
        f"{part.about}\n\n{markdown_table(part.heads, part.rows, part.names)}"
        for section in sections
        for part in section.parts
        if isinstance(part, Table) and part.name.startswith("first-table")
    ]
    count = sum(name.startswith("tables/") for name in files)
    where = f"{folder / PAGE}\n{count} tables as CSV and LaTeX beside it; logged to run {run}"
    return "\n\n".join([*blocks, where])
