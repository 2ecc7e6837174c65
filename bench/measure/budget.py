"""A budget is a promise: the wall time of a whole command, and what that time buys of samples, points and rounds."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from bench import units

T = TypeVar("T")

# Seconds of the named budgets, report included. A little less than is promised: the last case is not cut short.
NAMED = {"sniff": 9.0, "quick": 44.0, "standard": 178.0, "soak": 3600.0}
# A host has no sustained regime and no ranks that wait for drivers: the same points and rounds take it less.
HOST = {"quick": 38.0, "standard": 115.0}
LONGEST = 7 * 86400.0
# From here on sweeps go on to their last point, roofs get an interval, and a sustained regime has time to settle.
WHOLE = 60.0
# The level from which on a probe is asked for more than its main sweeps.
FINE = 3
# From here on a case may take half of the memory, and what settles has time to.
LONG = 600.0
# Shares of the time: of each turn at the host links, of all links at once, of each group of ranks beside its start.
TURN, COMPANY, RANKS = 0.045, 0.02, 0.03
# Seconds below which ranks that have met would measure nothing.
LEAST_MEETING = 0.5
# What is measured side by side is most of a Run: it keeps so much, whatever the rest would like to have.
MAIN = 0.5


class BadBudget(ValueError):
    """Neither a name nor a duration; the message says what would be."""


@dataclass(frozen=True)
class Budget:
    """How much wall time a command may take, and what it spends it on."""

    name: str
    seconds: float  # of the whole command, report included
    case: float  # seconds of sampling for an ordinary case
    headline: float  # and for each repetition of one that claims a roof
    launch: float  # a single launch predicted to take longer is skipped
    rounds: int  # of headline cases at most; the first one chooses winners, so an interval over five needs six
    memory: float  # share of the device's memory that one ordinary case may take
    # Passes over the probes, ever finer: 2**level + 1 points of each sweep, evenly spread, then (None) all of them.
    levels: tuple[int | None, ...]
    level: int | None = None  # the pass that a probe is described for; passes nest: a finer one only adds points
    sample: float = 1e-3
    min_samples: int = 20
    max_samples: int = 50
    sustained_rounds: int = 0  # where the clock falls under lasting load, roofs are also stated in that regime

    @property
    def whole(self) -> bool:
        """Whether a probe is asked for all of its points."""
        return self.level is None

    def thin(self, points: Sequence[T]) -> list[T]:
        """The points of a sweep that this level measures: both ends and what lies evenly between them."""
        if self.level is None or len(points) <= 2**self.level + 1:
            return list(points)
        last, parts = len(points) - 1, 2**self.level
        return [points[at] for at in sorted({round(part * last / parts) for part in range(parts + 1)})]

    @property
    def groups(self) -> list[tuple[int | None, ...]]:
        """The levels that all probes reach before any goes on: each coarse one, then the finer ones together."""
        coarse = [(level,) for level in self.levels if level is not None and level < FINE]
        finer = tuple(level for level in self.levels if level is None or level >= FINE)
        return [*coarse, finer] if finer else coarse

    @property
    def long(self) -> bool:
        """Whether there is time to repeat what only completes a picture."""
        return self.seconds >= LONG

    @property
    def coarse(self) -> bool:
        """Whether a probe is asked for its main sweeps only; the others wait for a finer level."""
        return self.level is not None and self.level < FINE

    def at(self, level: int | None) -> "Budget":
        return replace(self, level=level)

    @property
    def lasting(self) -> "Budget":
        """This budget with time for the sustained regime: a gate follows it under every budget, and as one number."""
        return self if self.sustained_rounds else replace(self, sustained_rounds=3)


def timed(name: str, seconds: float) -> Budget:
    """What a command of so many seconds does with them."""
    case = min(max(seconds / 3000, 0.01), 0.5)
    return Budget(
        name,
        seconds,
        case=case,
        headline=1.5 * case,
        launch=min(max(seconds / 500, 0.05), 5.0),
        rounds=3 if seconds < 30 else 4 if seconds < WHOLE else 6 if seconds < LONG else 40,
        memory=1 / 64 if seconds < WHOLE else 1 / 16 if seconds < LONG else 1 / 2,
        levels=() if name == "sniff" else (1, 2, 3) if seconds < WHOLE else (1, 2, 3, None),
        sustained_rounds=0 if seconds < WHOLE else 3 if seconds < LONG else 20,
    )


BUDGETS = {name: timed(name, seconds) for name, seconds in NAMED.items()}


def budget(text: str, host: bool = False) -> Budget:
    """The budget that was asked for: a name, or a duration ("90s", "5m"). host: a CPU is all that is measured.

    Raises BadBudget.
    """
    if text in NAMED:
        return timed(text, HOST[text]) if host and text in HOST else BUDGETS[text]
    near = difflib.get_close_matches(text.lower(), NAMED, 1, 0.6)
    hint = f" Did you mean {near[0]}?" if near else ""
    try:
        seconds = units.duration(text)
    except ValueError:
        raise BadBudget(f"no budget {text!r}: {', '.join(NAMED)}, or a duration as 90s, 5m, 1h.{hint}") from None
    if not 1.0 <= seconds <= LONGEST:
        raise BadBudget(f"a budget of {text} is out of range: from 1s to {LONGEST / 3600:.0f}h")
    return timed(text, seconds)


@dataclass(frozen=True)
class Portions:
    """Seconds of what all devices do at once, of each turn, of all links at once, of each group with its start; and how
    many groups there is time for.
    """

    main: float
    turn: float
    company: float
    group: float
    groups: int


def portions(seconds: float, turns: int, company: bool, groups: int, start: float) -> Portions:
    """seconds: of measuring in all. start: seconds that starting a group of ranks takes."""
    if math.isinf(seconds):
        return Portions(seconds, seconds, seconds, seconds, groups)
    turn, shared, group = TURN * seconds, COMPANY * seconds * company, start + RANKS * seconds
    rest = turns * turn + shared + groups * group
    scale = min(1.0, (1 - MAIN) * seconds / rest) if rest else 1.0
    if groups and scale * group < start + LEAST_MEETING:
        # for ranks that would have met too late nothing is set aside
        return portions(seconds, turns, company, groups - 1, start)
    return Portions(seconds - scale * rest, scale * turn, scale * shared, scale * group, groups)
