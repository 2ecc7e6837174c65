"""The machine alone: what measures waits for whoever else does."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def machine(devices: Sequence[str], wait: float, console: Any) -> AbstractContextManager[Any]:
    """The machine for as long as something is measured on it; a datasheet needs none. wait: seconds at most."""
    from bench import lock

    if devices[0].startswith("sim:"):
        return nullcontext()
    return lock.alone(wait, lambda who: console.print(f"waiting for another measurement: {who}", markup=False))
