"""Machines of every origin, the fit of a CPU that was measured, and claims as it decides them."""

from dataclasses import replace

from bench.analysis.fit import Fit, fit
from bench.analysis.serving.claims import CheckedClaim
from bench.analysis.serving.curves import curve, family, messages, surface
from bench.analysis.serving.machine import Machine
from bench.analysis.serving.machine_io import of_product, of_run
from tests.report.conftest import kept
from tests.report.runs import simulated


def everything() -> Machine:
    """A machine with a curve of each kind, measured all-reduces, and a host that launches one kernel at a time."""
    machine = of_run(fit(simulated("sim:h200-sxm,noise=0.01:0.02,overhead=2us,seed=5"))[0])
    points = [((32.0, 4.0), (1, 0.7)), ((32.0, 4.0), (300, 0.5)), ((256.0, 8.0), (16, 0.8)), ((256.0, 8.0), (900, 0.4))]
    curves = replace(
        machine.curves,
        experts=family(points, curve),
        narrow={"int8": family([((4.0, 128.0), (8, 1024, 0.3)), ((4.0, 128.0), (512, 8192, 0.6))], surface)},
        named={"norm + residual": curve([(1e4, 0.05), (1e9, 0.8)]), "rotary": curve([(1e5, 0.2)])},
        reduce=(
            messages(2, [(8192, 9e-6), (1 << 20, 2e-5), (1 << 26, 4e-4)], "graph"),
            messages(4, [(8192, 1.1e-5), (1 << 24, 1.5e-4)], "eager"),
        ),
    )
    launch = {"graph": 2e-6, "eager": 7e-6}
    return replace(machine, curves=curves, launch=launch, mode="eager", host=1e-4, collective="library")


MACHINES = {
    "datasheet": lambda: of_product("h200-sxm"),
    "simulated": lambda: of_run(fit(simulated("sim:h200-sxm,noise=0.002:0.007,overhead=2us,seed=3"))[0]),
    "cpu": lambda: of_run(fit(kept())[0]),
    "everything": everything,
}


def measured_fit() -> Fit:
    """Of a CPU that was measured."""
    return fit(kept())[0]


# Claims as a machine decides them, one of them as hostile as a text can be.
_REST = {"shown_by": "definition", "reference": "50", "measured": True}
CLAIMS = (
    CheckedClaim("A-1", "part one", "Metrics", "TPS is 1/TBT", here="50", missing="", verdict="right", correction="",
            by_reference="right", **_REST),
    CheckedClaim("A-2", "part one", "", "<b>x</b></script>", here="3 %", missing="", verdict="wrong",
            correction="it is not", by_reference="right", **_REST),
    CheckedClaim("B-1", "part two", "Cost", "half", here=None, missing="moe", verdict="depends", correction="on it",
            by_reference="depends", **_REST),
)  # fmt: skip
