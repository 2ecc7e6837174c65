"""What the ranks of a collective tell one another, over the group's gloo half: no GPU takes part."""

from typing import Any


def gathered(value: Any, world: int) -> list[Any]:
    """Every rank's value, on every rank, in rank order."""
    if world == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world
    dist.all_gather_object(values, value)
    return values


def agreed(value: Any, world: int) -> Any:
    """Rank 0's value, on every rank."""
    if world == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
