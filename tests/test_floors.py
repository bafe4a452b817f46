"""The floors of the design: lower ones never import upper ones, and nothing happens at import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("valuesim_dspy", "evals", "optimize")

# From the ground up; a module may import its own floor and those below it.
FLOORS = [
    [
        "valuesim_dspy",
        "valuesim_dspy.errors",
        "valuesim_dspy.free_text",
        "valuesim_dspy.encodable",
        "valuesim_dspy.toml_files",
        "valuesim_dspy.sqlite_files",
        "valuesim_dspy.private_files",
    ],
    [
        "valuesim_dspy.limits",
        "valuesim_dspy.roles",
        "valuesim_dspy.store",
        "valuesim_dspy.config",
    ],
    ["valuesim_dspy.survey"],
    ["valuesim_dspy.case", "valuesim_dspy.own"],
    [
        "valuesim_dspy.signatures",
        "valuesim_dspy.lexical",
        "valuesim_dspy.retrieval",
        "valuesim_dspy.usage",
        "valuesim_dspy.callscope",
        "valuesim_dspy.records",
        "valuesim_dspy.cache_file",
        "valuesim_dspy.cache",
        "valuesim_dspy.preflight",
        "valuesim_dspy.faults",
        "valuesim_dspy.turns",
        "valuesim_dspy.throttle",
        "valuesim_dspy.retrying",
        "valuesim_dspy.suspecting",
        "valuesim_dspy.prefixes",
        "valuesim_dspy.bounded",
        "valuesim_dspy.receipts",
        "valuesim_dspy.native",
        "valuesim_dspy.paying",
        "valuesim_dspy.metered",
        "valuesim_dspy.lm",
    ],
    ["valuesim_dspy.voting"],
    ["valuesim_dspy.trust", "valuesim_dspy.trust_tables", "valuesim_dspy.peers"],
    ["valuesim_dspy.variants"],
    ["valuesim_dspy.chances", "valuesim_dspy.token_chances"],
    [
        "valuesim_dspy.replies",
        "valuesim_dspy.modules",
        "valuesim_dspy.several",
        "valuesim_dspy.together",
        "valuesim_dspy.distributions",
        "valuesim_dspy.panel",
        "valuesim_dspy.fidelity",
        "valuesim_dspy.revising",
    ],
    ["valuesim_dspy.program", "valuesim_dspy.ensemble"],
    [
        "valuesim_dspy.manifest",
        "valuesim_dspy.state",
        "valuesim_dspy.finding",
        "valuesim_dspy.loading",
        "valuesim_dspy.registered",
        "valuesim_dspy.outcomes",
        "valuesim_dspy.loop",
        "valuesim_dspy.asked",
        "valuesim_dspy.hiding",
        "valuesim_dspy.plan",
        "valuesim_dspy.estimating",
        "valuesim_dspy.answers_file",
        "valuesim_dspy.progress",
        "valuesim_dspy.journal_file",
        "valuesim_dspy.journal",
        "valuesim_dspy.sharding",
        "valuesim_dspy.simulation",
        "valuesim_dspy.simulate",
        "valuesim_dspy.ray_engine",
        "valuesim_dspy.simulating",
        "valuesim_dspy.asking",
        "valuesim_dspy.people_tables",
        "valuesim_dspy.people_store",
        "valuesim_dspy.remembering",
        "valuesim_dspy.observing",
        "valuesim_dspy.forgetting",
        "valuesim_dspy.people",
        "valuesim_dspy.commitments",
        "valuesim_dspy.interview",
        "valuesim_dspy.interview_session",
        "valuesim_dspy.interviewing",
        "valuesim_dspy.ui",
    ],
    [
        "evals.intervals",
        "evals.metric",
        "evals.individual",
        "evals.distributional",
        "evals.probabilistic",
        "evals.subgroups",
        "evals.metrics",
        "evals.protocols",
    ],
    ["evals"],
    ["optimize"],
]
COMMANDS = {"valuesim_dspy.__main__", "evals.__main__", "optimize.__main__"}
# Libraries that only some modules may import, at the top or inside a function.
RESERVED = {
    "mlflow": {
        "evals.tracking",
        "valuesim_dspy.finding",
        "valuesim_dspy.registered",
        "valuesim_dspy.ui",
        "evals.registry",
    },
    "optuna": {"optimize.search", "optimize.search_pictures", "optimize.demo_search"},
    "dspy.teleprompt": {
        f"optimize.teleprompters.{family}"
        for family in ("bootstrapping", "mipro", "reflecting", "inferring")
    },
}


def modules() -> dict[str, Path]:
    """Map every module of the three packages to its file."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def floor(module: str) -> int:
    """Return the floor of a module: that of the longest prefix named in FLOORS."""
    if module in COMMANDS:
        return len(FLOORS)
    ranked = {name: level for level, names in enumerate(FLOORS) for name in names}
    while module not in ranked:
        module, dot, _ = module.rpartition(".")
        assert dot, f"{module} stands on no floor: name it in FLOORS"
    return ranked[module]


def imports(path: Path) -> set[str]:
    """Return everything a file imports at run time, lazily or not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    typing_only: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            typing_only |= {inner for body in node.body for inner in ast.walk(body)}
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_only_its_floor_and_below(module: str) -> None:
    """No import goes up a floor."""
    known = modules()
    for name in imports(known[module]) & set(known) - set(PACKAGES):
        assert floor(name) <= floor(module), f"{module} imports {name}, which is above it"


@pytest.mark.parametrize("library", RESERVED)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    """MLflow, Optuna and DSPy's teleprompters each have one place."""
    for module, path in modules().items():
        uses = any(name == library or name.startswith(f"{library}.") for name in imports(path))
        assert not uses or module in RESERVED[library], f"{module} imports {library}"


def test_the_survey_layer_never_imports_dspy() -> None:
    """The survey layer is pure Python with pandas, numpy and pyarrow."""
    for module, path in modules().items():
        if module.startswith("valuesim_dspy.survey"):
            assert not {name for name in imports(path) if name.split(".")[0] == "dspy"}, module


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import valuesim_dspy` and the command's help load no dspy, mlflow, litellm or pandas."""
    script = (
        "import sys, valuesim_dspy, valuesim_dspy.__main__ as m; m.build_parser();"
        "print([n for n in ('dspy','mlflow','litellm','pandas','optuna') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_no_file_is_longer_than_300_lines() -> None:
    """A source file of more than 300 lines is split."""
    long = {m: n for m, p in modules().items() if (n := len(p.read_text().splitlines())) > 300}
    assert not long
