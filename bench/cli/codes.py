"""Exit codes, and the error that carries one: a line for stderr, never a traceback."""

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
