"""Which errors end a verb with one line and an exit code."""

from bench.cli.codes import INCONCLUSIVE, NOTHING, USAGE, UserError


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

    match error:
        case UserError(code=code):
            return code
        case MachineBusy():
            return INCONCLUSIVE
        case NothingToRun():
            return NOTHING
    return USAGE
