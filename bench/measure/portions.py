"""How the time of a Run is divided between what its devices do side by side, in turns, and together."""

import math
from dataclasses import dataclass

# Shares of the time: of each turn at the host links, of all links at once, of each group of ranks beside its start.
TURN, COMPANY, RANKS = 0.045, 0.02, 0.03
# Seconds below which ranks that have met would measure nothing.
LEAST = 0.5
# What is measured side by side is most of a Run: it keeps so much, whatever the rest would like to have.
MAIN = 0.5


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
    if groups and scale * group < start + LEAST:
        # for ranks that would have met too late nothing is set aside
        return portions(seconds, turns, company, groups - 1, start)
    return Portions(seconds - scale * rest, scale * turn, scale * shared, scale * group, groups)
