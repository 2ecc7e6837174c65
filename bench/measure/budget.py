"""A budget is a promise: the wall time of a whole command, and what that time buys of samples, points and rounds."""

import difflib
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


class BadBudget(ValueError):
    """Neither a name nor a duration; the message says what would be."""


@dataclass(frozen=True)
class Budget:
    """How much wall time a command may take, and what it spends it on.

    seconds: of the whole command, report included. case, headline: seconds of sampling for an ordinary case and for
    each repetition of one that claims a roof. launch: a single launch predicted to take longer is skipped. rounds:
    repetitions of headline cases at most; the first one chooses winners, so an interval over five needs six. memory:
    share of the device's memory that one ordinary case may take.

    levels: passes over the probes, ever finer: 2**level + 1 points of each sweep, evenly spread, then (None) all of
    them. level: the pass that a probe is described for. Passes nest: a finer one only adds points.

    Where the clock falls under lasting load, roofs are also stated in the sustained regime, in sustained_rounds rounds.
    """

    name: str
    seconds: float
    case: float
    headline: float
    launch: float
    rounds: int
    memory: float
    levels: tuple[int | None, ...]
    level: int | None = None
    sample: float = 1e-3
    min_samples: int = 20
    max_samples: int = 50
    sustained_rounds: int = 0

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
