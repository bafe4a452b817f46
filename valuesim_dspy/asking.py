"""Ask one person one question: what `valuesim ask` does."""

from __future__ import annotations

import argparse
from typing import Any

import dspy

from valuesim_dspy.cache import ResponseCache
from valuesim_dspy.case import Case, Profile
from valuesim_dspy.config import parse_job
from valuesim_dspy.errors import ConfigError, PredictionError
from valuesim_dspy.fidelity import backstory_fidelity
from valuesim_dspy.lm import describe_error, make_lm, preflight, require_consent
from valuesim_dspy.loading import load_program
from valuesim_dspy.own import read_person
from valuesim_dspy.program import VARIANTS, ValueSim
from valuesim_dspy.roles import LMRole
from valuesim_dspy.store import cache_location
from valuesim_dspy.survey.codebook import Codebook, Question, load_codebook
from valuesim_dspy.survey.own_wording import open_codebook
from valuesim_dspy.survey.respondents import Respondent, read_respondent


def ask(args: argparse.Namespace) -> list[str]:
    """Answer the question on the command line; return the lines to print.

    Raises:
        ConfigError: Person or question are not given, or given twice.
        MissingDataError: A file or a respondent is absent.
        PredictionError: The model gave no option, or its endpoint no answer.
    """
    codebook = open_codebook(args.codebook, args.wording)
    question = _question(args, codebook)
    profile, truth, synthetic = _person(args, question, codebook)
    role = _role(args)
    require_consent(role, 1, synthetic=synthetic, send_to=args.send_to)
    if args.program in VARIANTS:
        program = ValueSim(args.program)
    else:
        program = load_program(args.program, codebook=codebook)
    lm = make_lm(role, name="task_lm")
    with ResponseCache(cache_location()).installed(), dspy.context(lm=lm, disable_history=True):
        preflight(lm)
        try:
            prediction = program(case=Case(profile, question))
        except dspy.LMError as error:
            raise PredictionError(describe_error(error)) from error
    lines = [f"{question.id}: {question.text_for(profile.country)}"]
    lines += [
        f"  {'>' if o.code == prediction.answer else ' '} {o.code}: {o.label}"
        for o in question.options
    ]
    lines.append(f"predicted: {prediction.answer} ({question.label(prediction.answer)})")
    if truth is not None:
        lines.append(f"answered:  {truth} ({question.label(truth)})")
    if role.offline:
        lines.append("The embedded model answered: it shows that the machinery works, no more.")
    return lines + (_why(prediction, profile) if args.why else [])


def _role(args: argparse.Namespace) -> LMRole:
    given = {"model": args.model, "api_base": args.api_base, "api_key_env": args.api_key_env}
    return parse_job({"task_lm": {k: v for k, v in given.items() if v is not None}}).task_lm


def _why(prediction: Any, profile: Profile) -> list[str]:
    lines = []
    if prediction.backstory:
        kept = backstory_fidelity(profile.facts, prediction.backstory) if profile.facts else 1.0
        lines += ["", f"backstory (keeps {kept:.0%} of the facts):", prediction.backstory]
    for name, view in prediction.views.items():
        lines += ["", f"{name}: {view['answer']}", view["analysis"]]
    return [*lines, "", f"decision by {prediction.decision}:", prediction.analysis]


def _question(args: argparse.Namespace, codebook: Codebook) -> Question:
    if bool(args.question) == bool(args.text):
        raise ConfigError("give either --question or --text with --option")
    if args.question:
        question = codebook[args.question]
        if not question.options:
            raise ConfigError("has no list of options to choose from", key=args.question)
        return question
    if len(args.option) < 2:
        raise ConfigError("give at least two, in their order", key="--option", value=args.option)
    return Question(text=args.text, options=args.option)


def _person(
    args: argparse.Namespace, question: Question, codebook: Codebook | None = None
) -> tuple[Profile, int | None, bool]:
    """Return the person's profile, their own answer if known, and whether they are synthetic."""
    if args.person is not None and args.survey is None:
        me = read_person(args.person, without=question.id, codebook=codebook)
        return me, None, False
    if args.survey is None or args.respondent is None or args.person is not None:
        raise ConfigError("give either --person, or --survey with --respondent")
    codebook = load_codebook() if codebook is None else codebook
    # One row, where the survey was read before: the file is not read again.
    respondent = read_respondent(args.survey, args.respondent, codebook=codebook)
    profile = _unmasked(respondent, question, codebook)
    own = question.id in codebook.questions
    return profile, respondent.answer(question.id) if own else None, respondent.synthetic


def _unmasked(respondent: Respondent, question: Question, codebook: Codebook) -> Profile:
    """Return all that a respondent answered, save the question and its twins."""
    hidden = {question.id, *question.twins}
    known = frozenset(qid for qid in codebook.questions if qid not in hidden)
    return Profile(
        key=respondent.key(respondent.survey_digest),
        answers=respondent.masked(known),
        codebook=codebook,
        country=respondent.country or None,
        known=f"all but {question.id}",
    )
