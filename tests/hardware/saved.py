"""Whether a saved time may be compared with a new one: pytest-benchmark knows a test by its name alone."""

from collections.abc import Mapping, Sequence
from typing import Any


def unlike(identity: Mapping[str, Any], test: str, saved: Sequence[Mapping[str, Any]]) -> str:
    """Why the saved time of a test is not one of this device and case, and what to do about it; "" where it is.

    identity: what both must share, as each test writes it into its extra_info.
    """
    for run in saved:
        for each in run["benchmarks"]:
            before = each["extra_info"]
            other = [key for key in identity if before.get(key) != identity[key]] if each["fullname"] == test else []
            if other:
                changed = ", ".join(f"{key} was {before.get(key)} and is {identity[key]}" for key in other)
                return (
                    f"the saved run of {run['datetime']} timed something else: {changed}. Compare with another run"
                    " (--benchmark-compare=NUM), or keep the runs of each device apart (--benchmark-storage)"
                )
    return ""
