"""How many experts a step reads: far fewer than all at a small batch, and fewer than tokens times experts per token."""

import math
from collections.abc import Sequence

# "uniform": each token draws its experts independently and alike; "balanced": as a synthetic router deals them out, the
# most that any routing reads; otherwise the probability of each expert to be among a token's.
Routing = str | Sequence[float]


def distinct_experts(experts: int, active: int, tokens: float, routing: Routing = "uniform") -> float:
    """Expected experts that at least one of `tokens` is routed to, of which each takes `active`.

    A token misses an expert with probability 1 - active/experts exactly, because its experts are distinct. Tokens of
    one text choose alike and read fewer than this.
    """
    most = min(experts, active * tokens)
    if tokens <= 0 or routing == "balanced":
        return max(most, 0)
    if routing == "uniform":
        met = experts * (1 - (1 - active / experts) ** tokens)
    elif isinstance(routing, str):
        raise ValueError(f"routing {routing!r}: use uniform, balanced or the probability of each expert")
    else:
        _check(experts, active, routing)
        met = math.fsum(1 - (1 - share) ** tokens for share in routing)
    # k and min(E, k T) bound it; rounding must not break them
    return min(max(met, min(active, most)), most)


def distinct_ranks(experts: int, active: int, ranks: int) -> float:
    """Expected ranks that hold at least one of a token's experts, when each rank holds an equal part of them."""
    elsewhere = math.comb(experts - experts // ranks, active) / math.comb(experts, active)
    return ranks * (1 - elsewhere)


def _check(experts: int, active: int, routing: Sequence[float]) -> None:
    if len(routing) != experts:
        raise ValueError(f"routing gives {len(routing)} probabilities for {experts} experts")
    if any(not 0 <= share <= 1 for share in routing) or not math.isclose(math.fsum(routing), active, rel_tol=1e-6):
        raise ValueError(f"routing probabilities must lie in 0..1 and add up to the {active} experts of a token")
