"""Guess which variables are no questions: interview numbers, countries, weights, years, dates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from valuesim_dspy.survey.columns import TRAITS
from valuesim_dspy.survey.labelled_files import LabelledFile, Variable
from valuesim_dspy.survey.wording import Places

# By name, the surest first: of wave 7, ESS, EVS, ISSP and GSS, the joint EVS/WVS, wave 6.
_NAMES: Mapping[str, tuple[str, ...]] = {
    role: tuple(names.split())
    for role, names in {
        "id": "d_interview idno uniqid respid resp_id respno caseid case_id id_cocas uuid id v3",
        "country": "b_country_alpha cntry_an cntry country_alpha c_abrv iso3 iso2 b_country "
        "country nation s003 v2a v2",
        "year": "a_year inwyys inwyr inwyye intyear s020 year v262",
        "weight": "w_weight anweight pspwght dweight gwght withinwt combinwt wtssps wtssall "
        "s017 weight wgt wt v258",
        "pooled_weight": "s018 s018a",
        "sex": "q260 gndr x001 sex gender v240",
        "age": "q262 agea x003 age v242",
        "education": "q275 eisced edulvlb isced x025 educ degree education v248",
    }.items()
}
_LABELS: Mapping[str, str] = {
    "id": r"(respondent|interview|case|questionnaire|unique).{0,14}\b(id|number|no|identif\w+)\b",
    "country": r"(iso )?country( code)?( \(.*\))?$|country.{0,12}\b(alpha|iso|abbrev)",
    "year": r"year (of )?(the )?(survey|interview|fieldwork)|survey year",
    "weight": r"(?!.*(kg|kilo|pounds|body)).*\bweight(ing)?\b",
    "sex": r"(respondent'?s? )?(sex|gender)( of respondent)?$",
    "age": r"(calculated )?age( of respondent)?( \(.*\))?(, calculated)?$|respondent'?s? age$",
    "education": r"highest (level of )?education|level of education|education.{0,12}level",
}
_NEVER = (
    r"(interviewer|interview|fieldwork|sampl|stratum|strata|psu|primary sampling|cluster|version|"
    r"edition|production date|doi|archive|longitude|latitude|start of|end of|date|time of|"
    r"duration|language of (the )?interview|mode of|study number|wave$|round$)"
)
_YEARS = range(1945, 2036)


@dataclass(frozen=True)
class ColumnGuess:
    """The header's columns.

    Args:
        columns: The variables by role; an id may need several.
        notes: What was guessed, by role.
        country_codes: Alpha-3 by code where the codes are the file's own.
        dropped: Variables that are no questions, and why.
    """

    columns: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, str] = field(default_factory=dict)
    country_codes: Mapping[int, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)


def guess_columns(file: LabelledFile, places: Places) -> ColumnGuess:
    """Guess the columns of a file that say who was asked, where, when and at what weight."""
    found: dict[str, Variable] = {}
    notes: dict[str, str] = {}
    spare: dict[str, str] = {}
    for role in _NAMES:
        able = [v for v in _candidates(file.variables, role) if _fits(v, role, file, places)]
        if able:
            found[role] = able[0]
            if role not in TRAITS:
                spare |= {v.name: f"also like the column for {role}" for v in able[1:]}
            others = [v.name for v in able[1:4]]
            notes[role] = f"guess: {able[0].label or 'by its name'}"
            notes[role] += f"; also there: {', '.join(others)}" if others else ""
    columns: dict[str, tuple[str, ...]] = {role: (v.name,) for role, v in found.items()}
    if "id" in columns and found["id"].distinct < file.rows and "country" in columns:
        pair = (*columns["country"], *columns["id"])
        if file.distinct_rows(pair) > found["id"].distinct:
            columns["id"] = pair
            notes["id"] = "guess: the number counts anew in each country"
    codes = _own_codes(found["country"], places) if "country" in found else {}
    taken = {name for role in ("id", "country", "year") for name in columns.get(role, ())}
    dropped = spare | _dropped(file.variables, taken)
    return ColumnGuess(columns, notes, codes, dropped)


def _candidates(variables: Sequence[Variable], role: str) -> list[Variable]:
    """Variables that are called so, the surest first: by name and label, name, label."""
    label = re.compile(_LABELS.get(role, r"(?!)"), re.I)
    ranked = []
    for at, variable in enumerate(variables):
        named = variable.name.lower() in _NAMES[role]
        told = label.match(variable.label) is not None
        # V3 is a name that anything may have; a label that says something else outweighs it
        common = re.fullmatch(r"v\d+a?", variable.name, re.I) is not None
        if told or (named and not (common and variable.label)):
            rank = _NAMES[role].index(variable.name.lower()) if named else len(_NAMES[role])
            ranked.append((rank, not told, at, variable))
    return [variable for *_, variable in sorted(ranked, key=lambda item: item[:3])]


def _fits(variable: Variable, role: str, file: LabelledFile, places: Places) -> bool:
    """Whether the values are what the role needs."""
    labels = " ".join(variable.labels.values()).lower()
    answers = [code for code in variable.codes if code >= 0]
    if role == "id":
        return variable.kind in ("codes", "text") and 2 * variable.given >= file.rows > 0
    if role == "country":
        return _names_countries(variable, places)
    if role == "year":
        return bool(answers) and all(code in _YEARS for code in answers)
    if role in ("weight", "pooled_weight"):
        return variable.kind in ("numbers", "codes") and not variable.labels
    if role == "sex":
        return "female" in labels or "woman" in labels
    if role == "age":
        plain = [code for code in answers if code < 130]
        return bool(plain) and max(plain) > 30 and len(plain) > 8
    return len(variable.labels) > 2


def _names_countries(variable: Variable, places: Places) -> bool:
    if variable.kind == "text":
        known = [text for text in variable.texts if places.find(text.strip().upper())]
        return 2 * len(known) > len(variable.texts)
    codes = [code for code in variable.codes if code >= 0]
    named = _named(variable, places)
    real = [code for code in codes if code in named or places.numbered(code)]
    return bool(codes) and 2 * len(real) > len(codes)


def _own_codes(variable: Variable, places: Places) -> dict[int, str]:
    """The file's own codes by alpha-3, where they are not ISO's."""
    named = _named(variable, places)
    iso = {code: place.alpha for code in named if (place := places.numbered(code))}
    return {} if all(iso.get(code) == alpha for code, alpha in named.items()) else named


def _named(variable: Variable, places: Places) -> dict[int, str]:
    """Alpha-3 by code, as the labels name countries."""
    names = {_plain(place.name): alpha for alpha, place in places.countries.items()}
    names |= {"united kingdom": "GBR", "united states of america": "USA", "usa": "USA", "uk": "GBR"}
    names |= {"czech republic": "CZE", "turkiye": "TUR", "türkiye": "TUR", "cote d'ivoire": "CIV"}
    names |= {"cabo verde": "CPV", "swaziland": "SWZ", "russian federation": "RUS"}
    names |= {"republic of korea": "KOR", "viet nam": "VNM", "macedonia": "MKD", "korea": "KOR"}
    labels = {code: _plain(re.sub(r"^\W*\d+\W+", "", x)) for code, x in variable.labels.items()}
    return {code: names[label] for code, label in labels.items() if label in names and code >= 0}


def _plain(name: str) -> str:
    return re.sub(r"^the ", "", name.strip().lower())


def _dropped(variables: Iterable[Variable], taken: Iterable[str]) -> dict[str, str]:
    """Why a variable that is no column of the header is no question either."""
    dropped: dict[str, str] = {}
    for variable in variables:
        if variable.name in taken:
            continue
        named = variable.name.lower() in (*_NAMES["weight"], *_NAMES["pooled_weight"])
        if not variable.labels and (named or re.match(_LABELS["weight"], variable.label, re.I)):
            dropped[variable.name] = "a weight"
        elif re.match(_NEVER, variable.label, re.I):
            dropped[variable.name] = "about the interview, not the person"
        elif variable.kind in ("text", "date", "numbers"):
            why = {"text": "text", "date": "a date", "numbers": "numbers with fractions"}
            dropped[variable.name] = why[variable.kind]
        elif not variable.given:
            dropped[variable.name] = "no row has a value"
    return dropped
