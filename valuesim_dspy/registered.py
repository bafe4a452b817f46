"""A registered program as `mlflow.pyfunc` loads it: a row is one person and one question."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy
import numpy as np

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.config import parse_job
from valuesim_dspy.errors import ConfigError, MissingDataError, ValueSimError, shown
from valuesim_dspy.lm import make_lm, require_consent
from valuesim_dspy.loading import load_program
from valuesim_dspy.loop import answer_cases
from valuesim_dspy.manifest import DEFAULT_CODEBOOK
from valuesim_dspy.outcomes import Outcome, outcomes_frame
from valuesim_dspy.program import VARIANTS
from valuesim_dspy.roles import LMRole
from valuesim_dspy.store import cache_location
from valuesim_dspy.survey.answers import UNKNOWN_CODE
from valuesim_dspy.survey.codebook import Codebook, Question, packaged_codebooks
from valuesim_dspy.survey.own_wording import open_codebook
from valuesim_dspy.survey.reading import NEVER_READ
from valuesim_dspy.survey.respondents import Respondent, Respondents
from valuesim_dspy.trust import require_lm

if TYPE_CHECKING:
    import pandas as pd

PARAMS: Mapping[str, tuple[str, Any]] = {"model": ("string", None), "threads": ("integer", 8)}
"""What `predict` takes beside the table, as MLflow's signature names types, and the defaults."""

SERVED: Mapping[str, str] = {
    "model": "VALUESIM_MODEL",
    "api_base": "VALUESIM_API_BASE",
    "api_key_env": "VALUESIM_API_KEY_ENV",
    "send_to": "VALUESIM_SEND_TO",
    "codebook": "VALUESIM_CODEBOOK",
    "wording": "VALUESIM_WORDING",
}
"""What the process that serves a program decides, and the environment variable that says it.

A caller, who may be anybody, must not choose where keys and tables go or which files are read.
"""

# Without `version` and `doi`: what a caller's table says of itself waives nobody's consent.
_READ = ("D_INTERVIEW", "B_COUNTRY_ALPHA", "B_COUNTRY")
# Some providers take an address as part of the name.
_MODEL = re.compile(r"(?!.*http)[\w.@+:-]+(/[\w.@+:-]+)*", re.ASCII | re.IGNORECASE)
# The response cache is the process's: two tables at once would take it from each other.
_ONE_TABLE = threading.Lock()


def _load_pyfunc(data_path: str) -> RegisteredProgram:
    """Load a program for `mlflow.pyfunc.load_model`."""
    return RegisteredProgram(Path(data_path))


class RegisteredProgram:
    """A program that answers tables.

    Args:
        folder: The program's folder.

    Raises:
        ProgramStateError: It does not fit this code.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = load_program(folder)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Answer every row.

        Args:
            model_input: A table, one row a person and a question. `question` is an id of the
                codebook; where it is empty, `text` and `options` (a list, or texts with | in
                between) are a question of one's own. Other columns are named as in the survey's
                file: codes, the country (B_COUNTRY_ALPHA), D_INTERVIEW; unknown ones are not
                read, codes that the codebook does not know are set aside. A row's answers to
                its question and to the question's twins are never shown to the program; other
                questions of the battery are: leave their columns out to have it as measured.
            params: `model`, the task LM: an offline one, or another of the provider it is served
                with; `threads`. What belongs to this machine its environment says: `SERVED`.

        Returns:
            `valuesim_dspy.outcomes.outcomes_frame`, in the table's order and with its index; a
            row that fails has the status `failed` or `invalid` and a reason. `truth` is the
            row's own answer.

        Raises:
            ConfigError: A param is wrong, or answers would go where nobody agreed to.
            MissingDataError: The variant needs similar people, or a key is not set.
            ProgramStateError: What it learned of its perspectives is another model's.
            SurveyDataError: No column holds answers to a question of the codebook.
        """
        import pandas as pd

        table = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
        chosen, served = _params(params), _served()
        codebook, program = self._opened(served)
        if table.empty:
            return outcomes_frame([])
        people = _people(table, codebook)
        rows = [_case(row, people[at], codebook) for at, row in enumerate(_asked(table))]
        role = self._role(chosen["model"], served)
        self._agree(role, people, served["send_to"])
        lm = make_lm(role, name="task_lm")
        examples = [row for row in rows if isinstance(row, dspy.Example)]
        with _ONE_TABLE, _own_cache(), dspy.context(lm=lm, disable_history=True):
            answered = iter(answer_cases(program, examples, lm=lm, threads=chosen["threads"]))
        outcomes = [row if isinstance(row, Outcome) else next(answered) for row in rows]
        return outcomes_frame(outcomes).set_index(table.index)

    def _opened(self, served: Mapping[str, str]) -> tuple[Codebook, Any]:
        """Return the codebook in force and the program, checked against it."""
        manifest, program = self.program.manifest, self.program
        if VARIANTS[program.variant].peers:
            raise MissingDataError(
                f"the variant {program.variant} reads similar people, which no table brings along",
                "use load_program(...) and bind(peers=...)",
            )
        named = str(manifest.codebook.get("id", DEFAULT_CODEBOOK))
        if not served["codebook"] and named not in packaged_codebooks():
            # Never opened as a path: a file from elsewhere must not choose what is read here.
            raise MissingDataError(
                f"the program was compiled with the codebook {shown(named)}, which is not packaged",
                f"give its file in {SERVED['codebook']} where the program is served",
            )
        codebook = open_codebook(served["codebook"] or named, served["wording"] or None)
        if served["codebook"] or served["wording"]:
            program = load_program(self.folder, codebook=codebook)
        return codebook, program

    def _agree(self, role: LMRole, people: Respondents, send_to: str) -> None:
        """Make sure of consent, and that what was learned of a model is used with that model."""
        try:
            hosts = send_to.replace(" ", "").split(",")
            require_consent(role, len(people), synthetic=False, send_to=hosts)
        except ConfigError as error:
            how = f"for a registered program: {SERVED['send_to']}={role.host} where it is served"
            raise ConfigError(f"{error} ({how})", key=SERVED["send_to"]) from None
        for member in getattr(self.program, "members", (self.program,)):
            if VARIANTS[member.variant].learns:
                require_lm(member.learned, role.model)

    def _role(self, asked: str | None, served: Mapping[str, str]) -> LMRole:
        own = served["model"] or self.program.manifest.lms.get("task_lm", "")
        if not (asked or own):
            message = f"the program names no task LM; give one in {SERVED['model']}"
            raise ConfigError(message, key="params.model")
        role = LMRole(model=_name(str(asked or own)))
        if role.offline:
            return role
        if asked not in (None, "", own) and not _same_provider(role.model, own):
            how = f"another is given in {SERVED['model']} where it is served"
            message = f"it must be offline or of the provider the program is served with; {how}"
            raise ConfigError(message, key="params.model")
        endpoint = {key: served[key] for key in ("api_base", "api_key_env") if served[key]}
        return parse_job({"task_lm": {"model": role.model, **endpoint}}).task_lm


def _params(params: Mapping[str, Any] | None) -> dict[str, Any]:
    given = {name: value for name, value in (params or {}).items() if value is not None}
    for name in given:
        if name not in PARAMS:
            told = f"; {SERVED[name]} says it where it is served" if name in SERVED else ""
            raise ConfigError(f"no such param{told}", key=f"params.{name}", allowed=PARAMS)
    chosen = {name: given.get(name, default) for name, (_, default) in PARAMS.items()}
    if int(chosen["threads"]) < 1:
        raise ConfigError("at least 1 is needed", key="params.threads", value=chosen["threads"])
    return chosen | {"threads": int(chosen["threads"])}


@contextmanager
def _own_cache() -> Iterator[None]:
    with closing(ResponseCache(cache_location())) as cache, cache.installed():
        yield


def _served() -> dict[str, str]:
    return {name: os.environ.get(variable, "") for name, variable in SERVED.items()}


def _name(model: str) -> str:
    if not _MODEL.fullmatch(model):
        message = "expected provider/model, for example openai/gpt-4o-mini, and no address"
        raise ConfigError(message, key="params.model")
    return model


def _same_provider(asked: str, own: str) -> bool:
    # Of a name without a provider nobody knows for certain where it leads.
    return "/" in asked and "/" in own and asked.split("/")[0] == own.split("/")[0]


def _people(table: pd.DataFrame, codebook: Codebook) -> Respondents:
    """Read the rows as a survey's reader would: codes checked, kinds of missing known."""
    if not table.columns.is_unique:
        raise ConfigError("two columns have the same name", key="model_input")
    kinds = codebook.columns.kinds
    read = {part for name in _READ for part in codebook.columns.attributes.get(name, ())}
    columns: dict[str, Any] = {}
    for name in map(str, table.columns):
        if name in read:
            columns[name] = _attribute(table[name], kinds[name])
        elif name in codebook.questions and name not in NEVER_READ | {"question"}:
            columns[name] = _whole(table[name], UNKNOWN_CODE)
    questions, attributes = codebook.columns.part(columns)
    return Respondents.from_columns(questions=questions, attributes=attributes, codebook=codebook)


def _attribute(column: pd.Series[Any], kind: str) -> Any:
    if kind != "text":
        return _whole(column, 0)
    texts = ["" if _is_blank(cell) else str(cell) for cell in column]
    return np.array(texts, dtype=object)


def _whole(column: pd.Series[Any], otherwise: int) -> Any:
    """Return whole numbers, int32 [n]; another value where a cell is none."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    is_whole = np.isfinite(numbers) & (np.abs(numbers) < 2**31) & (numbers == np.floor(numbers))
    return np.where(is_whole, numbers, otherwise).astype(np.int32)


def _asked(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what each row asks; a blank cell is None."""
    names = [name for name in ("question", "text", "options") if name in table]
    if not {"question", "text"} & set(names):
        raise ConfigError("the table needs a column `question`", key="model_input")
    columns = [[None if _is_blank(cell) else cell for cell in table[name]] for name in names]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _is_blank(cell: Any) -> bool:
    # NaN and NaT differ from themselves; lists and arrays are never blank.
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (np.isscalar(cell) and cell != cell) or type(cell).__name__ == "NAType"


def _case(row: Mapping[str, Any], person: Respondent, codebook: Codebook) -> Any:
    """Return the row's example, or what became of a row that cannot be asked."""
    everything = [person.country, sorted(person.answers.codes().items())]
    # Of the row alone: the same row is the same person in every table.
    key = hashlib.sha256(json.dumps([person.id, everything]).encode()).hexdigest()[:12]
    try:
        question = _question(row, codebook)
    except ValueSimError as error:
        reason = shown(error)
        return Outcome(key, shown(row.get("question") or ""), None, None, "failed", reason)
    profile = _profile(person, question, codebook, key)
    own = question.id in codebook.questions
    truth = person.answer(question.id) if own else None
    known = {"case": Case(profile, question), **({} if truth is None else {"answer": truth})}
    return dspy.Example(**known).with_inputs("case")


def _question(row: Mapping[str, Any], codebook: Codebook) -> Question:
    asked = row.get("question")
    if asked is not None:
        if str(asked) not in codebook.questions:
            raise ConfigError(f"the codebook {codebook.id} has no such question", key=str(asked))
        question = codebook[str(asked)]
        if not question.options:
            raise ConfigError("has no list of options to choose from", key=question.id)
        return question
    if row.get("text") is None:
        raise ConfigError("the row names no question and has no text", key="question")
    options = row.get("options")
    listed = options.split("|") if isinstance(options, str) else options
    if not isinstance(listed, Sequence | np.ndarray) or len(listed) < 2:
        raise ConfigError("give at least two, in their order", key="options")
    return Question(text=str(row["text"]), options=[str(label).strip() for label in listed])


def _profile(person: Respondent, question: Question, codebook: Codebook, key: str) -> Profile:
    """Return all that a row says, save its answers to the question and the question's twins."""
    told = question.text.strip().casefold()
    # A question of one's own in the survey's words is the survey's.
    alike = [q for q in codebook if q.id == question.id or q.text.strip().casefold() == told]
    hidden = {qid for q in alike for qid in (q.id, *q.twins)}
    answers = person.masked(frozenset(qid for qid in codebook.questions if qid not in hidden))
    # Facts are kept by the profile's identity: rows of one person may tell different things.
    seen = hashlib.sha256(json.dumps(sorted(answers.codes().items())).encode()).hexdigest()
    return Profile(key, answers, codebook, person.country or None, f"row {seen[:16]}")
