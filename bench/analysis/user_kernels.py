"""Your own kernels under the roofs of a Run: what each attains of what this machine allows, and what limits it.

    >>> from bench import store
    >>> from bench.analysis.fit import fit
    >>> from bench.analysis.user_kernels import UserKernel, place
    >>> from bench.work import Work
    >>> mine = UserKernel("my gemm", Work(2 * 4096**3, "tensor", "bfloat16", bytes=3 * 2 * 4096**2), seconds=210e-6)
    >>> place(fit(store.read("RUN.jsonl"))[0], mine).share  # doctest: +SKIP
    0.83

A file of kernels is CSV with a header: name, flops, bytes, seconds, unit, dtype, and if wanted variant and channel. All
numbers are in base units: flops and bytes of one launch, its seconds.
"""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from bench.analysis.fit import Fit
from bench.roofline import Roofline
from bench.store import RunError
from bench.work import ITEMSIZE, Work

REQUIRED = ("name", "flops", "bytes", "seconds", "unit", "dtype")
OPTIONAL = ("variant", "channel")
UNITS = ("vector", "tensor", "")
# More would hide the roofs; whoever has more has several figures.
MOST = 2000


class PointsError(RunError):
    """A file of kernels cannot be used; the message says which line and what to do."""


@dataclass(frozen=True)
class UserKernel:
    """One kernel of yours: what a launch demands, and how long it took (seconds)."""

    name: str
    work: Work
    seconds: float


@dataclass(frozen=True)
class RooflinePoint:
    """A kernel under the roofs. share: attained part of what they allow (1 is on the roof); limit: the key of the roof
    that binds, or "overhead"; lacking: roofs that the Run has not measured, without which there is neither.
    """

    kernel: UserKernel
    share: float | None
    limit: str
    lacking: tuple[str, ...] = ()

    @property
    def intensity(self) -> float:
        return self.kernel.work.intensity

    @property
    def flop_rate(self) -> float:
        return self.kernel.work.flops / self.kernel.seconds

    @property
    def above(self) -> bool:
        """Beyond its roof by more than a hundredth: a wrong count, a warm cache, or a roof under-measured."""
        return self.share is not None and self.share > 1.01

    @property
    def possible(self) -> float:
        """How many times as fast its roof allows; 1 on the roof, above it and without one."""
        return max(1.0, 1 / self.share) if self.share else 1.0


def place(fit: Fit | Roofline, kernel: UserKernel) -> RooflinePoint:
    """A kernel under a device's roofs (burst, launch overhead included), or under any Roofline."""
    roofline = fit if isinstance(fit, Roofline) else fit.roofline
    work = kernel.work
    lacking = roofline.missing(work)
    if lacking or not work.asks:
        return RooflinePoint(kernel, None, "", lacking)
    return RooflinePoint(kernel, roofline.seconds(work) / kernel.seconds, roofline.limit(work))


def read(path: Path | str) -> tuple[UserKernel, ...]:
    """The kernels of a CSV file. Raises PointsError naming the file, the line and the column that is wrong."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PointsError(f"no such file: {path}") from None
    except UnicodeDecodeError:
        raise PointsError(f"{path} is not UTF-8 text; save it as CSV (UTF-8)") from None
    except OSError as error:
        raise PointsError(f"cannot read {path}: {error.strerror or error}") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> tuple[UserKernel, ...]:
    """As read, from text; `source` names it in messages."""
    if "\0" in text:
        raise PointsError(f"{source} is not a CSV file: it holds binary data")
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        header = [word.strip().lower() for word in next(rows, [])]
        _check_header(header, source)
        kernels = tuple(
            _kernel(header, row, f"{source}, line {rows.line_num}") for row in rows if any(cell.strip() for cell in row)
        )
    except csv.Error as error:
        raise PointsError(f"{source}, line {rows.line_num}: {error}") from None
    if not kernels:
        raise PointsError(f"{source} names no kernel: it has a header and nothing below")
    if len(kernels) > MOST:
        raise PointsError(f"{source} has {len(kernels)} kernels; a figure takes {MOST}: split the file")
    return kernels


def _check_header(header: list[str], source: str) -> None:
    wanted, known = ",".join(REQUIRED), REQUIRED + OPTIONAL
    if not any(header):
        raise PointsError(f"{source} is empty; its first line must be {wanted}")
    if missing := [name for name in REQUIRED if name not in header]:
        raise PointsError(f"{source}: no column {', '.join(missing)}; the first line must be {wanted}")
    if foreign := [name for name in header if name not in known]:
        words = ", ".join(map(repr, foreign))
        raise PointsError(f"{source}: unknown column {words}; known are {', '.join(known)}")
    if len(set(header)) < len(header):
        raise PointsError(f"{source}: a column stands twice in the first line")


def _kernel(header: list[str], cells: list[str], where: str) -> UserKernel:
    if len(cells) != len(header):
        raise PointsError(f"{where}: {len(cells)} cells under {len(header)} columns; put a name with a comma in quotes")
    row = dict(zip(header, map(str.strip, cells), strict=True))
    flops, moved, seconds = (_number(row, name, where) for name in ("flops", "bytes", "seconds"))
    unit, dtype = row["unit"].lower(), row["dtype"].lower()
    if not row["name"]:
        raise PointsError(f"{where}: a kernel needs a name")
    if not seconds:
        raise PointsError(f"{where}: seconds must be more than 0")
    if not (flops or moved):
        raise PointsError(f"{where}: {row['name']} has neither flops nor bytes, so no roof stands over it")
    if unit not in UNITS or (flops and not unit):
        raise PointsError(f"{where}: unit {row['unit']!r} must be vector or tensor")
    if flops and dtype not in ITEMSIZE:
        raise PointsError(f"{where}: unknown dtype {row['dtype']!r}; known are {', '.join(ITEMSIZE)}")
    kind = (unit, dtype, row.get("variant", "")) if flops else ("", "", "")
    return UserKernel(row["name"], Work(flops, *kind, moved, row.get("channel") or "dram"), seconds)


def _number(row: dict[str, str], name: str, where: str) -> float:
    try:
        value = float(row[name] or 0)
    except ValueError:
        raise PointsError(f"{where}: {name} {row[name]!r} is not a number; write base units, as in 1.5e12") from None
    if not (math.isfinite(value) and value >= 0):
        raise PointsError(f"{where}: {name} must be a number of 0 or more, not {row[name]}")
    return value
