"""The verb doctor: is this machine fit to be measured?"""

from pathlib import Path
from typing import Annotated

from bench.cli.options import Budget, Device, Results, option


def doctor(
    *,
    device: Device = "auto",
    budget: Budget = "standard",
    out: Results = Path("results"),
    json: Annotated[bool, option("as JSON on stdout")] = False,
) -> int:
    """Says what is here, what would be measured, what to fix first."""
    from bench.measure import doctor

    return doctor.run(device, budget, json, out)
