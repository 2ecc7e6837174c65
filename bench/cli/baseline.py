"""Verbs of what a gate expects: baseline, history, calibrate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, OK, UserError, product_dir
from bench.cli.options import Count, GateBudget, Measuring, Results, Some, option


def baseline(
    action: Annotated[
        Literal["set", "show", "promote"], option("promote replaces a baseline and keeps the old", "ACTION")
    ],
    target: Annotated[Path | None, option("the Run; for show, results/PRODUCT", "RUN")] = None,
    /,
    *,
    product: Annotated[bool, option("for every device of the product without one of its own")] = False,
    out: Results = Path("results"),
) -> int:
    """Blesses a Run, or shows what is blessed."""
    from bench.analysis.gate import baselines
    from bench.cli.console import open_console
    from bench.report import baselines as told
    from bench.report.render import terminal
    from bench.store import read

    console = open_console(stderr=False)
    if action == "show":
        root = target or out
        homes = [root] if (root / "baselines").is_dir() else sorted(p.parent for p in root.glob("*/baselines"))
        found = [each for home in homes for each in baselines.all_of(home)]
        if not found:
            where = target or out
            raise UserError(f"no baselines in {where}; bless a Run with `baseline set RUN`", INCONCLUSIVE)
        console.print(terminal.text(told.baselines(found), full=True))
        return OK
    if not target:
        raise UserError(f"baseline {action} needs a RUN")
    run = read(target)
    home = product_dir(target, run.environment.product, out)
    blessed = baselines.bless(run, home, of_product=product, promote=action == "promote")
    console.print(terminal.text(told.blessed(blessed), full=True))
    return OK


def history(
    action: Annotated[Literal["list", "prune"], option("list the Runs, or delete the oldest", "ACTION")],
    folder: Annotated[Path, option("results/PRODUCT", "DIR")],
    /,
    *,
    keep: Annotated[Some | None, option("how many of the newest Runs prune leaves", "N")] = None,
    yes: Annotated[bool, option("delete; without it prune only says what it would delete")] = False,
) -> int:
    """Lists the Runs of a product as a gate sees them, or deletes the oldest; first only says which."""
    from bench.analysis.gate.samples import past
    from bench.cli.console import open_console
    from bench.report.baselines import history as told
    from bench.report.render import terminal

    console = open_console(stderr=False)
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}; give results/PRODUCT")
    found = past(folder)
    if not found.runs and not found.left_out:
        raise UserError(f"no Runs (*.jsonl) in {folder}: give results/PRODUCT")
    if action == "list":
        console.print(terminal.text(told(found), full=True))
        return OK
    if keep is None:
        raise UserError("history prune needs --keep N: how many of the newest Runs stay")
    # only Runs that count are counted: a node with many interrupted ones must not lose those that say what is usual
    good = [at for at, run in enumerate(found.runs.values()) if not run.excluded]
    files = list(found.runs)[: good[-keep]] if len(good) >= keep else []
    for name in files:
        console.print(f"{'deleted' if yes else 'would delete'} {folder / name}", markup=False, soft_wrap=True)
        if yes:
            try:
                (folder / name).unlink()
            except OSError as error:
                raise UserError(f"cannot delete {folder / name}: {error.strerror or error}") from None
    kept = len(found.runs) - len(files)
    left = f"; {len(found.left_out)} unreadable files are left alone" if found.left_out else ""
    todo = "" if yes or not files else "; nothing was deleted: say --yes to do it"
    console.print(f"{len(files)} of {len(found.runs)} Runs, {kept} stay{left}{todo}", markup=False)
    return OK


@dataclass(frozen=True, kw_only=True)
class CalibrateArguments(Measuring):
    """How many Runs, of which kind."""

    budget: GateBudget = "quick"
    runs: Annotated[Count, option("Runs in a row", "N")] = 10


DEFAULTS = CalibrateArguments()


def calibrate(options: CalibrateArguments = DEFAULTS) -> int:
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
