"""The verb calibrate: this machine's own noise."""

from dataclasses import dataclass
from typing import Annotated

from bench.cli.codes import CRASHED, INTERRUPTED, OK, UserError
from bench.cli.options import Count, GateBudget, Measuring, option


@dataclass(frozen=True, kw_only=True)
class Options(Measuring):
    """How many Runs, of which kind."""

    budget: GateBudget = "quick"
    runs: Annotated[Count, option("Runs in a row", "N")] = 10


DEFAULTS = Options()


def calibrate(options: Options = DEFAULTS) -> int:
    """Measures the same machine again and again, and writes down what a gate must forgive it."""
    from bench import gatekeeper
    from bench.analysis.gate import baselines, tolerances
    from bench.cli.console import open_console, waiting
    from bench.measure.budget import BUDGETS
    from bench.measure.device.open import resolve
    from bench.measure.exclusive import machine
    from bench.measure.probes import select
    from bench.report.baselines import noise as noise_document
    from bench.report.render import terminal

    console = open_console(stderr=False)
    if options.runs < tolerances.FEWEST:
        raise UserError(f"--runs {options.runs}: at least {tolerances.FEWEST} Runs are needed, better 10 and more")
    devices, how = resolve(options.device), gatekeeper.GateOptions(confirm=0, calibrated=False)
    runs = []
    for number in range(options.runs):
        console.print(f"Run {number + 1} of {options.runs}", style="bold", markup=False)
        session = gatekeeper.GateSession(options.out, select([]), console, how)
        # a sim's noise is seeded: the same seed would be the same Run
        with machine(devices, options.wait, waiting(console)):
            run, status = gatekeeper.measured(devices, BUDGETS[options.budget], options.seed + number, session, console)
        if status != "complete":
            return INTERRUPTED if status == "interrupted" else CRASHED
        runs.append(run)
    about = runs[0].environment
    home = options.out / about.product
    for info in about.devices:
        noise = tolerances.noise(runs, info)
        console.print(terminal.text(noise_document(info, noise), full=True))
        words = (
            f"What a gate must forgive {info.name}, by {len(runs)} Runs in a row from {about.started} on.\n"
            f"Made by: {' '.join(about.command)}\nMetrics that are not here keep the registry's tolerances."
        )
        path = tolerances.write(baselines.tolerances_file(home, about, info), tolerances.calibrated(noise), words)
        console.print(f"floors  {path}", markup=False, soft_wrap=True)
    return OK
