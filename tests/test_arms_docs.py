"""The page of arms names every variant and every baseline, as the registries have them."""

from pathlib import Path

import pytest

from evals.baselines import BASELINES
from valuesim_dspy.variants import VARIANTS

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "arms.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("arm", [*VARIANTS.values(), *BASELINES.values()], ids=lambda arm: arm.name)
def test_every_arm_is_on_the_page(arm: object) -> None:
    """Name, what it is, and whether it is cold or warm."""
    assert f"| `{arm.name}` | {arm.what} | {arm.knows} |" in PAGE  # type: ignore[attr-defined]
