r"""Times of day: `4:30 \text{ p.m.}`, `16:30`, `16:30:00`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd

_TIME = re.compile(
    r"(?P<hour>\d{1,2})(?:\s*:\s*(?P<minute>\d{2}))?(?:\s*:\s*(?P<second>\d{2}))?\s*(?:\\text\s*\{)?\s*(?:(?P<half>[ap])\.?\s?m\.?)?\s*\}?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TimeOfDay:
    """A time on the clock.

    Attributes:
        seconds: since midnight, or since noon or midnight if `half` is None and the hour is at most 12.
        half: `"a"` or `"p"` where am or pm is written.
        certain: False for what may be a ratio as well, such as `2:15`.
    """

    seconds: int
    half: str | None
    certain: bool


def parse_time(text: str) -> TimeOfDay | None:
    """Reads a normalised answer as a time of day; None if it cannot be one."""
    match = _TIME.fullmatch(text)
    if match is None or (match["minute"] is None and match["half"] is None):
        return None
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    half = match["half"].lower() if match["half"] else None
    if minute > 59 or second > 59 or hour > (12 if half else 24):
        return None
    # A ratio is given in lowest terms and without leading zeros, so 4:30 and 12:00 are times.
    certain = half is not None or gcd(hour, minute) != 1 or text.startswith("0") or match["minute"].startswith("0")
    return TimeOfDay(((hour % 12 if half else hour) * 60 + minute) * 60 + second, half, certain)


def same_time(one: TimeOfDay, other: TimeOfDay) -> bool:
    """Equal on the clock; where only one says am or pm, the other may leave it out or count to 24."""
    if one.half and other.half:
        return one == other
    half_day, day = 12 * 3600, 24 * 3600
    if one.half or other.half:
        marked, bare = (one, other) if one.half else (other, one)
        in_full = marked.seconds + (half_day if marked.half == "p" else 0)
        return bare.seconds % day == in_full or (bare.seconds <= half_day and bare.seconds % half_day == marked.seconds)
    return one.seconds == other.seconds
