"""Programs as teleprompters leave them and as they lie in a folder, for the tests of loading."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
from people import example

from valuesim_dspy.manifest import Manifest
from valuesim_dspy.program import ValueSim
from valuesim_dspy.survey.codebook import load_codebook

CODEBOOK = load_codebook()
CODES = {"id": "wvs7", "version": CODEBOOK.version, "digest": CODEBOOK.digest}


def manifest(variant: str = "full", **known: Any) -> Manifest:
    """Return the manifest of a program of this variant."""
    return Manifest(**{"kind": "valuesim", "variant": variant, "codebook": dict(CODES), **known})


def compiled(variant: str = "full") -> ValueSim:
    """Return a program as a teleprompter leaves it: demos and instructions of its own."""
    program = ValueSim(variant)
    shown = example("Q57").case.inputs()
    for name, predictor in program.named_predictors():
        fields = predictor.signature.input_fields
        demo = {key: text for key, text in shown.items() if key in fields}
        if "answer" in predictor.signature.output_fields:
            demo |= {"answer": 2, "augmented": True}
            if "analysis" in predictor.signature.output_fields:
                demo["analysis"] = "«Trust» is «low»."
        else:
            demo |= {"backstory": "You live in Japan, by the sea."}
        # Teleprompters leave Examples, our own builder dictionaries.
        predictor.demos = [dspy.Example(**demo), dict(demo)]
        told = f"{predictor.signature.instructions}\nSay it the way {name} would."
        predictor.signature = predictor.signature.with_instructions(told)
    return program


def learned(accuracy: float = 0.6) -> dict[str, Any]:
    """Return what compiling might have learned of one perspective."""
    cell = {"n": 50, "people": 30, "accuracy": accuracy, "nmae": 0.2, "bias": 0.0}
    return {"records": {"lm": "offline/lexical-1", "cells": {"cognitive": {"all": cell}}}}


def state_of(program: Any) -> dict[str, Any]:
    """Return demos and texts of every predictor."""
    return {
        name: ([dict(demo) for demo in p.demos], p.signature.dump_state())
        for name, p in program.named_predictors()
    }


def edit(folder: Path, file: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change one of the two files in place."""
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))
