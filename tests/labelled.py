"""Small labelled survey files for tests, made by hand: like the ESS, like wave 6, like the GSS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyreadstat

TEN_GAPS = {77: "Refusal", 88: "Don't know", 99: "No answer"}
ONE_GAPS = {7: "Refusal", 8: "Don't know", 9: "No answer"}
NEGATIVE = {-1: "Don't know", -2: "No answer", -4: "Not asked", -5: "Missing"}
TRUST = {0: "No trust at all", **{n: str(n) for n in range(1, 10)}, 10: "Complete trust"}
AGREE = {
    1: "Agree strongly",
    2: "Agree",
    3: "Neither agree nor disagree",
    4: "Disagree",
    5: "Disagree strongly",
}
IMPORTANT = {
    1: "Very important",
    2: "Rather important",
    3: "Not very important",
    4: "Not at all important",
}
LIKE_ME = {
    1: "Very much like me",
    2: "Like me",
    3: "Somewhat like me",
    4: "A little like me",
    5: "Not like me",
    6: "Not like me at all",
}


def drawn(rng: np.random.Generator, n: int, codes: list[int], gaps: Mapping[int, str]) -> Any:
    """Codes with an answer missing here and there, and each kind of missing at least once."""
    values = rng.choice(codes, n)
    values[rng.choice(n, len(gaps), replace=False)] = list(gaps)
    return values


def ess(n: int = 60, seed: int = 1) -> tuple[pd.DataFrame, dict[str, str], dict[str, Any]]:
    """A file like the ESS: columns, labels, and labels of values; ids count anew by country."""
    rng = np.random.default_rng(seed)
    half = n // 2
    columns: dict[str, Any] = {
        "name": ["ESS9e03"] * n,
        "cntry": ["GB"] * half + ["NO"] * (n - half),
        "idno": [*range(1, half + 1), *range(1, n - half + 1)],
        "dweight": rng.uniform(0.5, 2, n),
        "pspwght": rng.uniform(0.5, 2, n),
        "inwyys": [2018] * n,
    }
    labels = {
        "name": "Title of dataset",
        "cntry": "Country",
        "idno": "Respondent's identification number",
        "dweight": "Design weight",
        "pspwght": "Post-stratification weight including design weight",
        "inwyys": "Start of interview, year",
    }
    values: dict[str, Any] = {}

    def add(name: str, label: str, options: dict[int, str], gaps: dict[int, str]) -> None:
        columns[name] = drawn(rng, n, list(options), gaps)
        labels[name], values[name] = label, {**options, **gaps}

    happy = {0: "Extremely unhappy", **{n: str(n) for n in range(1, 10)}, 10: "Extremely happy"}
    careful = {0: "You can't be too careful", 10: "Most people can be trusted"}
    add("happy", "How happy are you", happy, TEN_GAPS)
    add("ppltrst", "Most people can be trusted or you can't be too careful", TRUST, TEN_GAPS)
    values["ppltrst"] = {**careful, **TEN_GAPS}
    for name, whom in (("trstprl", "country's parliament"), ("trstlgl", "the legal system")):
        add(name, f"Trust in {whom}", TRUST, TEN_GAPS)
    for name, what in (
        ("freehms", "Gays and lesbians free to live life as they wish"),
        ("gincdif", "Government should reduce differences in income levels"),
    ):
        add(name, what, AGREE, ONE_GAPS)
    for name, what in (("ipcrtiv", "think new ideas"), ("imprich", "be rich, have money")):
        add(name, f"Important to {what}", LIKE_ME, ONE_GAPS)
    add("vote", "Voted last national election", {1: "Yes", 2: "No", 3: "Not eligible"}, ONE_GAPS)
    add("ctzcntr", "Citizen of country", {1: "Yes", 2: "No"}, ONE_GAPS)
    add("rlgdnm", "Religion or denomination belonging to", {1: "Roman Catholic", 2: "Protestant",
        3: "Islam", 4: "Other"}, {66: "Not applicable", **TEN_GAPS})  # fmt: skip
    add("gndr", "Gender", {1: "Male", 2: "Female"}, {9: "No answer"})
    labels["agea"] = "Age of respondent, calculated"
    columns["agea"] = rng.integers(15, 95, n)
    columns["agea"][3] = 999
    values["agea"] = {999: "Not available"}
    return pd.DataFrame(columns), labels, values


def write_ess(path: Path, n: int = 60, *, declared: bool = False) -> Path:
    """Write a file like the ESS.

    Args:
        path: A .sav or .dta file.
        n: How many people.
        declared: Whether the file itself declares its missing codes (SPSS only).
    """
    frame, labels, values = ess(n)
    ranges: dict[str, Any] = {}
    if declared:
        gaps = {*ONE_GAPS.values(), "Not applicable", "Not available"}
        for name, known in values.items():
            codes = [code for code, label in known.items() if label in gaps]
            ranges[name] = [{"lo": min(codes), "hi": max(codes)}] if codes else []
    return write(path, frame, labels, values, ranges)


def write_wave6(path: Path, n: int = 60) -> Path:
    """Write a file like wave 6: V2, V3, V4 to V10 and a few more, ISO numbers for countries."""
    rng = np.random.default_rng(6)
    items = ("Family", "Friends", "Leisure time", "Politics", "Work", "Religion")
    columns: dict[str, Any] = {
        "V1": [6] * n,
        "V2": [392] * (n // 2) + [840] * (n - n // 2),
        "V3": range(1, n + 1),
    }
    labels = {"V1": "Wave", "V2": "Country Code", "V3": "Interview number"}
    values: dict[str, Any] = {"V2": {392: "Japan", 840: "United States"}}
    for number, item in enumerate(items, start=4):
        columns[f"V{number}"] = drawn(rng, n, list(IMPORTANT), NEGATIVE)
        labels[f"V{number}"] = f"Important in life: {item}"
        values[f"V{number}"] = {**NEGATIVE, **IMPORTANT}
    happy = {1: "Very happy", 2: "Rather happy", 3: "Not very happy", 4: "Not at all happy"}
    for name, label, options in (
        ("V10", "Feeling of happiness", happy),
        ("V24", "Most people can be trusted", {1: "Most people can be trusted",
            2: "Need to be very careful"}),
        ("V203", "Justifiable: Homosexuality", {1: "Never justifiable", 10: "Always justifiable"}),
        ("V240", "Sex", {1: "Male", 2: "Female"}),
    ):  # fmt: skip
        codes = list(range(1, 11)) if name == "V203" else list(options)
        columns[name] = drawn(rng, n, codes, NEGATIVE)
        labels[name], values[name] = label, {**NEGATIVE, **options}
    columns["V242"] = rng.integers(18, 80, n)
    columns["V258"], columns["V262"] = rng.uniform(0.5, 2, n), [2010] * n
    labels |= {"V242": "Age", "V258": "Weight", "V262": "Year of survey"}
    return write(path, pd.DataFrame(columns), labels, values, {})


def write(
    path: Path,
    frame: pd.DataFrame,
    labels: Mapping[str, str],
    values: Mapping[str, Any],
    ranges: Mapping[str, Any],
) -> Path:
    """Write columns with their labels as SPSS or Stata."""
    known = {"column_labels": dict(labels), "variable_value_labels": dict(values)}
    if path.suffix == ".dta":
        pyreadstat.write_dta(frame, path, **known)
    else:
        pyreadstat.write_sav(frame, path, **known, missing_ranges=dict(ranges))
    return path
