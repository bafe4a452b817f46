"""Guess how much a label says: never, not at all and strongly disagree little, always much."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

# The first that matches counts: how often, how much.
_AMOUNTS: tuple[tuple[str, float], ...] = (
    (r"\b(several|many|more than once|\d+).{0,12}\b(a|each|per) day", 3.5),
    (r"(every|each|once a|a|per) day\b|\bdaily", 3.0),
    (r"\b(several|few|more than once|most|\d+|two|three).{0,12}\b(a|each|per|of the) week", 2.5),
    (r"(every|once a|per) week\b|\bweekly", 2.0),
    (r"\b(several|few|more than once|\d+|two|three).{0,14}\b(a|each|per) month", 1.5),
    (r"less (often )?than (once a month|monthly)", 0.3),
    (r"(every|once a|per) month\b|\bmonthly", 1.0),
    (r"\b(several|few|more than once|\d+|two|three).{0,12}\b(a|each|per) year|holy days", 0.0),
    (r"less (often )?than once a year|\bless (often|frequently)", -2.0),
    (r"(every|once a|per) year\b|\byearly", -1.0),
    (r"\bnot\b.*\bat all|\bno\b.*\bat all|\bnone\b|\bnothing\b|\bnot at all", -3.0),
    (r"\b(almost|nearly) always|\bvery often|\bvery frequently", 2.5),
    (r"\balways|\b(all|all of) the time|\bconstantly", 3.0),
    (r"\bmost of the time|\busually|\b(quite|fairly) often|\bregularly", 1.8),
    (r"\bnot (very )?often|\brarely|\bseldom", -1.5),
    (r"\boften\b|\bfrequently", 2.0),
    (r"\bsometimes|\boccasionally|\bsome of the time|\bnow and then|\bfrom time to time", 0.0),
    (r"\bhardly (ever|any|at all)|\b(almost|practically) (never|none|no)", -2.5),
    (r"\bnever", -3.0),
    (r"^(only |just )?once( or twice)?$", -1.0),
    (r"^a few times$", 0.0),
    (r"\bquite a (lot|bit)|\ba good deal|\ba fair amount", 2.0),
    (r"\ba great deal|\ba lot\b|\blots\b|\ballow many|\bvery many|^(very )?much$|^all\b", 3.0),
    (r"\bnot (very |that |so )?much$|\bonly (a )?little|^(very |just )?(a )?(little|few)$", -1.0),
    (r"\ballow (a )?few|\bjust (a )?few|\bonly (a )?few|^(very )?few\b", -1.0),
    (r"^(allow )?some\b|^several\b|\bto some extent$", 0.5),
)
_NEUTRAL = (
    r"\bneither\b|\bneutral\b|\bin between\b|\bin the middle\b|\b(about|stay|remain) the same\b|"
    r"\baverage\b|^fair$|\bmoderate\b|\b50\b|\bmixed\b|\bsatisfactory\b"
)
_LESS = (
    r"disagree|unimportant|dissatisf|unsatisf|unhapp|unlikely|unfair|unfavou?r|unsafe|insecure|"
    r"uninterest|distrust|mistrust|dislike|\bbad(ly)?\b|\bpoor|terrible|awful|\bworse|\bworst|"
    r"\bagainst\b|oppose|reject|\bwrong|decrease|\blow(er|est)?\b|\bless\b|\bleast\b|\bweak|"
    r"negative|difficult|untrue|\bfalse\b|unwilling|unacceptable"
)
_MORE = (
    r"\bagree|\bimportan|\bessential|\bsatisf|\bhapp(y|ier|iest)|\blike(ly)?\b|\bfair|\bfavou?r|"
    r"\bsafe|\bsecure|\binterest|\btrust|\bconfiden|\bgood|\bwell\b|excellent|\bbetter|\bbest\b|"
    r"support|accept|\bright|increase|\bhigh(er|est)?\b|\bmore\b|\bmost\b|\bstrong\b|positive|"
    r"\beasy|\btrue\b|\bproud|\bclose|\bjustif|\bwilling|\bconcerned|\bworried|\byes\b|"
    r"\bcapable|\battached|\bserious|\bvalued|\bnecessary"
)
_TOP = r"excellent|terrible|awful|\bworst|\bbest\b|essential|highest|lowest"
_STRONG = r"\bvery|extreme|strong|complete|total|entire|definite|fully|absolute|great|certain"
_DEGREES: tuple[tuple[str, float], ...] = (
    (_STRONG, 3.0),
    (r"\brather|\bquite|\bfairly|\bpretty\b", 1.5),
    (r"somewhat|\btend|partly|to some extent|probabl|mostly|moderately", 1.0),
    (r"slight|\ba little|\ba bit|\bjust\b", 0.5),
)
_OFF_SCALE = r"other\b|it depends|depends|neither of|none of (the|these)|not allowed|not eligible"
_STATEMENT = 8  # more words than that are no step of a scale
_NOT = r"\bnot\b|n't\b|\bno\b|\bhardly\b"
_WEAK = (
    r"\bhardly\b|\b(not|n't) (very|particularly|really|so|too|quite|especially)|\bnot\b.*\bmuch$"
)


def strength(label: str) -> float | None:
    """How much a label says, from -3 (never, not at all) to 3.5; None where nobody can tell."""
    text = label.lower().replace("\u2019", "'")
    if len(text.split()) > _STATEMENT:
        return None
    if re.search(_NEUTRAL, text):
        return 0.0
    for pattern, amount in _AMOUNTS:
        if re.search(pattern, text):
            return amount
    less = re.search(_LESS, text)
    more = re.search(_MORE, re.sub(_LESS, " ", text))
    if less and more:
        return None
    degree = _degree(text)
    if re.search(_NOT, text):
        weak = re.search(_WEAK, text)
        size = -1.0 if weak else -(degree or 2.0)
        return -size if less else size
    if less or more:
        size = 3.0 if re.search(_TOP, text) else degree or 2.0
        return -size if less else size
    return degree


def _degree(text: str) -> float | None:
    return next((size for pattern, size in _DEGREES if re.search(pattern, text)), None)


def is_off_scale(label: str) -> bool:
    """Whether a label stands beside any scale: other, it depends."""
    return re.match(_OFF_SCALE, label.lower()) is not None


def is_no(label: str) -> bool:
    """Whether a label is the "no" of two."""
    pattern = r"(no|not|never|none|disagree|did not|do not|don.?t|false|without)\b"
    return re.match(pattern, label.lower()) is not None


def runs(labels: Sequence[str]) -> int:
    """Which way labels run.

    Args:
        labels: In the order of their codes.

    Returns:
        1 where they say more and more, -1 where less and less, 0 where neither: at least two
        thirds of them, the first and the last among these, must be of a known strength.
    """
    known = [strength(label) for label in labels]
    sizes = [size for size in known if size is not None]
    if 3 * len(sizes) >= 2 * len(labels) and known[0] is not None and known[-1] is not None:
        return _way(sizes)
    numbers = [re.search(r"\d+", label.replace(",", "")) for label in labels]
    counted = [float(number[0]) for number in numbers if number]
    return _way(counted) if len(counted) >= max(2, len(labels) - 1) else 0


def _way(sizes: Sequence[float]) -> int:
    """1 for rising, -1 for falling; two neighbours may say the same."""
    steps = [b - a for a, b in pairwise(sizes)]
    if not steps or steps.count(0.0) > 1 or not any(steps):
        return 0
    if all(step >= 0 for step in steps):
        return 1
    return -1 if all(step <= 0 for step in steps) else 0
