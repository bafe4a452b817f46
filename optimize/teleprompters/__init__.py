"""Teleprompters: what compiles a program, by name; one builder and one line each."""

from __future__ import annotations

from dataclasses import replace

from optimize.compilation import Candidate, Compilation, Compiled, Metric, as_metric
from optimize.teleprompters.bootstrapping import (
    LabeledOptions,
    OptunaOptions,
    RandomSearchOptions,
    bootstrap_few_shot,
    bootstrap_optuna,
    bootstrap_random_search,
    bootstrap_runs,
    labeled_few_shot,
    optuna_runs,
    search_runs,
)
from optimize.teleprompters.ensembling import (
    Ensembling,
    ensemble,
    ensemble_prompts,
    ensemble_runs,
    options_with,
)
from optimize.teleprompters.inferring import RulesOptions, infer_rules, rules_prompts, rules_runs
from optimize.teleprompters.mipro import MiproOptions, mipro, mipro_prompts, mipro_runs
from optimize.teleprompters.options import BootstrapOptions, CommonOptions
from optimize.teleprompters.reflecting import (
    CoproOptions,
    GepaOptions,
    SimbaOptions,
    copro,
    copro_prompts,
    copro_runs,
    gepa,
    gepa_prompts,
    gepa_runs,
    simba,
    simba_prompts,
    simba_runs,
)
from optimize.teleprompters.running import compile_program
from optimize.teleprompters.staging import in_stages
from optimize.teleprompters.teleprompter import Teleprompter

__all__ = [
    "TELEPROMPTERS",
    "Candidate",
    "CommonOptions",
    "Compilation",
    "Compiled",
    "Metric",
    "Teleprompter",
    "as_metric",
    "compile_program",
]

TELEPROMPTERS: dict[str, Teleprompter] = {
    teleprompter.name: teleprompter
    if teleprompter.whole
    else replace(
        teleprompter,
        runs=in_stages(teleprompter.runs, looks=True),
        prompts=in_stages(teleprompter.prompts, looks=False),
    )
    for teleprompter in (
        Teleprompter(
            "labeled-few-shot",
            "demos rendered from training cases with their true answers; no call",
            LabeledOptions,
            labeled_few_shot,
            lambda options, n_train, n_val, predictors=5: (0, 0),
        ),
        Teleprompter(
            "bootstrap",
            "demos from traces of the teacher's right answers",
            BootstrapOptions,
            bootstrap_few_shot,
            bootstrap_runs,
        ),
        Teleprompter(
            "bootstrap-random-search",
            "the same from several orders of the trainset; the valset chooses",
            RandomSearchOptions,
            bootstrap_random_search,
            search_runs,
            needs_valset=True,
        ),
        Teleprompter(
            "bootstrap-optuna",
            "sets of such demos for each predictor, found by a seeded search on the valset",
            OptunaOptions,
            bootstrap_optuna,
            optuna_runs,
            needs_valset=True,
        ),
        Teleprompter(
            "mipro-v2",
            "demos and instructions together, proposed by the prompt LM; the valset chooses",
            MiproOptions,
            mipro,
            mipro_runs,
            needs_valset=True,
            prompts=mipro_prompts,
            writes=True,
        ),
        Teleprompter(
            "gepa",
            "instructions that reflect on single cases with feedback; the valset chooses",
            GepaOptions,
            gepa,
            gepa_runs,
            needs_valset=True,
            prompts=gepa_prompts,
            writes=True,
        ),
        Teleprompter(
            "simba",
            "demos and rules from the training cases that vary most",
            SimbaOptions,
            simba,
            simba_runs,
            prompts=simba_prompts,
            writes=True,
        ),
        Teleprompter(
            "copro",
            "instructions rewritten by their scores on the trainset",
            CoproOptions,
            copro,
            copro_runs,
            prompts=copro_prompts,
            writes=True,
        ),
        Teleprompter(
            "infer-rules",
            "rules inferred from demos, added to the instructions; the valset chooses",
            RulesOptions,
            infer_rules,
            rules_runs,
            needs_valset=True,
            prompts=rules_prompts,
            writes=True,
        ),
        Ensembling(
            "ensemble",
            "several compilations by another teleprompter, which vote; the valset chooses",
            options_with(RandomSearchOptions),
            ensemble,
            ensemble_runs,
            needs_valset=True,
            prompts=ensemble_prompts,
            writes=True,
            whole=True,
            width=lambda options: options.size,
        ),
    )
}
"""Name of a teleprompter, as typed, saved and logged, to what it is."""
