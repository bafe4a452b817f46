"""The factors of the ablation: which arms differ in one thing, and from which arm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Factor:
    """One factor.

    Args:
        name: What differs, in a few words.
        base: The arm that differences are taken to.
        arms: The others.
    """

    name: str
    base: str
    arms: tuple[str, ...]


COMPILED, SHUFFLED = " compiled", " shuffled"
"""What stands behind the name of an arm that is compiled first, by the job's teleprompter; the
second gives each perspective the record of another, as a control."""

FACTORS: tuple[Factor, ...] = (
    Factor("what perspectives read", "full", ("facts-only", "backstory-only")),
    Factor(
        "how many perspectives", "single", ("behavioral", "cognitive-behavioral", "full", "units")
    ),
    Factor("which perspective alone", "full", ("cognitive", "affective", "behavioral")),
    Factor("which lenses", "full", ("units", "placebo")),
    Factor("a round of interaction", "full", ("interaction",)),
    Factor("who decides", "full", ("vote", "mean", "coordinator-blind")),
    Factor("analysis before the answer", "full", ("answer-only",)),
    Factor("order of facts", "full", ("facts-reversed", "facts-shuffled", "facts-nearest-last")),
    Factor("history", "full", ("no-history",)),
    Factor("response style in one call", "single", ("single-habits", "behavioral-facts")),
    Factor("how many facts are retrieved", "rag", ("rag-10", "rag-30", "single")),
    Factor("how the question is searched for", "rag", ("rag-query", "embedding-transfer")),
    Factor("several questions in a call", "single", ("single-battery",)),
    Factor("as many calls", "self-consistency", ("placebo", "full")),
    Factor("who is known", "rag", ("blank", "demographics", "other-profile")),
    Factor("no language model", "battery-mean", ("uniform", "embedding-transfer")),
    Factor(
        "what compiling does",
        "full",
        ("full compiled",),
    ),
    Factor("whom compiling learns to believe", "full", ("weighted-vote compiled",)),
    Factor("the perspectives' records", "full-records shuffled", ("full-records compiled",)),
    Factor("what compiling does to RAG", "rag", ("rag compiled",)),
    Factor("what compiling does to one call", "single", ("single compiled",)),
    Factor("similar people", "rag-peers", ("peers", "single-peers", "peers-mode")),
    Factor(
        "others' answers without a language model",
        "country-mode",
        (
            "mode",
            "weighted-median",
            "nearest-respondents",
            "low-rank",
            "gradient-boosting",
        ),
    ),
)
"""The grid, one factor at a time; the last two are warm."""


def grid_arms(chosen: tuple[str, ...] = ()) -> list[str]:
    """Return the arms of the grid, or of the factors that an arm among `chosen` belongs to."""
    arms: dict[str, None] = {}
    for factor in FACTORS:
        members = (factor.base, *factor.arms)
        if not chosen:
            arms.update(dict.fromkeys(members))
        elif set(chosen) & set(members):
            arms.update(dict.fromkeys((factor.base, *(a for a in factor.arms if a in chosen))))
    arms.update(dict.fromkeys(chosen))
    return list(arms)
