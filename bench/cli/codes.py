"""Exit codes, and the errors that end a verb with one line and one of them: never a traceback."""

from pathlib import Path

# REGRESSED: GPU health is FAIL (bench.analysis.health), or the gate confirmed a regression or a defect.
# INCONCLUSIVE: nothing may be concluded: no roof, measurements that are not usable (bench.analysis.quality), a gated
# metric that is missing. OK: warnings and what could not be judged included.
OK, REGRESSED, USAGE, INCONCLUSIVE, CRASHED, NOTHING, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class UserError(Exception):
    """Something the user can mend: one line for stderr and an exit code."""

    def __init__(self, message: str, code: int = USAGE):
        super().__init__(message)
        self.code = code


def worse(*codes: int) -> int:
    """The code that several outcomes add up to: interrupted, then 4, then 1, then 3, then 0."""
    order = (INTERRUPTED, USAGE, NOTHING, CRASHED, REGRESSED, INCONCLUSIVE, OK)
    return min(codes, key=order.index)


def product_dir(run: Path, product: str, out: Path) -> Path:
    """The folder of a product's Runs that a Run file belongs to: where it lies, unless another --out was named."""
    lies = run.resolve().parent.name == product and out == Path("results")
    return run.parent if lies else out / product


def told_in_a_line() -> tuple[type[Exception], ...]:
    """Errors that say all themselves: what was typed, what is on disk, which device does not answer or is in use."""
    from bench.measure.device.protocol import DeviceError
    from bench.measure.exclusive import MachineBusy
    from bench.measure.probes import UnknownProbe
    from bench.measure.record import NothingToRun, TooShort
    from bench.store import RunError

    return UserError, DeviceError, MachineBusy, UnknownProbe, RunError, NothingToRun, TooShort


def code_of(error: Exception) -> int:
    """The exit code of one of these."""
    from bench.measure.exclusive import MachineBusy
    from bench.measure.record import NothingToRun

    if isinstance(error, UserError):
        return error.code
    return INCONCLUSIVE if isinstance(error, MachineBusy) else NOTHING if isinstance(error, NothingToRun) else USAGE
