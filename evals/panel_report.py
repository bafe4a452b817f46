"""Report a panel against its best member, chosen on the valset, whichever way it falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.intervals import Interval, clustered_interval, paired_difference
from evals.metrics import MIN_COVERAGE
from valuesim_dspy.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

SEED = 0
_VIEW = "view_"


@dataclass(frozen=True, eq=False)
class PanelReport:
    """How a panel did against its members on one set, without a further call.

    Args:
        member: The member that was right most often on the valset, the first of these.
        difference: Accuracy of the panel minus that of the member, paired, by respondent.
        accuracies: `panel` and every member to accuracy and interval on the set.
        val: The same names to accuracy on the valset, by which the member was chosen.
        role: The set: dev or test.
        is_valid: Whether cases enough were answered on both sets for scores to be reported.
    """

    member: str
    difference: Interval
    accuracies: dict[str, Interval]
    val: dict[str, float]
    role: str
    is_valid: bool

    @property
    def sentence(self) -> str:
        """The finding in a sentence, with its interval."""
        chosen = f"its {self.member} member, the best of {len(self.val) - 1} on the valset"
        if not self.is_valid:
            least = f"{MIN_COVERAGE * 100:g} %"
            return (
                f"The panel is not compared with {chosen}: fewer than {least} of the cases were "
                "answered."
            )
        gap = self.difference
        ends = "no interval, for want of respondents"
        if gap.low == gap.low:
            ends = f"{gap.level * 100:g} % interval {_points(gap.low)} to {_points(gap.high)}"
            ends += f", paired, clustered by {gap.clusters} respondents"
        return (
            f"On the {self.role}set the panel minus {chosen}: {_points(gap.estimate)} points of "
            f"accuracy ({ends}): {_verdict(gap)}."
        )

    @property
    def table(self) -> str:
        """Panel and members with their accuracies, as Markdown; the member chosen is marked."""
        lines = [
            f"| reader | valset % | {self.role}set % [95 %] |",
            "|---|---:|---:|",
        ]
        for name, found in self.accuracies.items():
            mark = " (chosen on the valset)" if name == self.member else ""
            share, ends = _share(found.estimate), f"[{_share(found.low)}, {_share(found.high)}]"
            shown = f"{share} {ends if found.low == found.low else '[no interval]'}"
            lines.append(f"| {name}{mark} | {_share(self.val[name])} | {shown} |")
        return "\n".join(lines) + "\n"


def panel_report(val_frame: pd.DataFrame, frame: pd.DataFrame, role: str) -> PanelReport:
    """Compare a panel with its best member; costs no call.

    A member alone is taken at its word within the panel: a case that failed as a whole, in which
    its view is not known, counts as wrong for it too.

    Args:
        val_frame: The program's scored table of the valset (`evals.metrics.score_frame`).
        frame: That of the set to report on.
        role: The set reported on: test, or dev where no test is read.

    Raises:
        ConfigError: Either table has fewer than two members, they differ, or the set is the
            valset, on which the member is chosen.
    """
    names = members(val_frame)
    if len(names) < 2 or set(names) != set(members(frame)):
        raise ConfigError(
            "a panel of two members or more is needed, the same in both tables",
            key="members",
            value=names,
        )
    if role == "val":
        raise ConfigError(
            "the member is chosen on the valset, so report another set",
            key="role",
            value=role,
            allowed=["dev", "test"],
        )
    val = {name: float(_right(val_frame, name).mean()) for name in ("panel", *names)}
    member = max(names, key=lambda name: val[name])
    alone = frame.assign(correct=_right(frame, member))
    return PanelReport(
        member=member,
        difference=paired_difference(frame, alone, seed=SEED),
        accuracies={name: _accuracy(frame, name) for name in ("panel", *names)},
        val=val,
        role=role,
        is_valid=all(one["answered"].mean() >= MIN_COVERAGE for one in (val_frame, frame)),
    )


def panel_sentence(val_frame: pd.DataFrame, frame: pd.DataFrame, role: str) -> str:
    """Return the sentence of `panel_report`."""
    return panel_report(val_frame, frame, role).sentence


def members(frame: pd.DataFrame) -> Sequence[str]:
    """Return the members whose views a scored table has, in its order; none for other arms."""
    return [
        str(name).removeprefix(_VIEW)
        for name in frame.columns
        if str(name).startswith(_VIEW) and frame[name].notna().any()
    ]


def _right(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return 1.0 where the panel or a member is right, else 0.0, for every case."""
    if name == "panel":
        return frame["correct"].astype(float)
    return (frame[_VIEW + name] == frame["truth"]).fillna(False).astype(float)


def _accuracy(frame: pd.DataFrame, name: str) -> Interval:
    return clustered_interval(
        _right(frame, name).to_numpy(), frame["respondent"].to_numpy(), seed=SEED
    )


def _verdict(gap: Interval) -> str:
    if gap.low > 0:
        return "the panel is more often right"
    if gap.high < 0:
        return "the member alone is more often right"
    return "neither is shown to be more often right"


def _points(share: float) -> str:
    # Adding 0.0 turns the -0.0 of a tiny negative share into 0.0.
    return format(round(share * 100, 1) + 0.0, "+.1f")


def _share(share: float) -> str:
    return format(share * 100, ".1f")
