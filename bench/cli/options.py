"""What several verbs let a person type: options with their types, defaults and words of help."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token


def whole(least: int, most: int | None = None, words: str = "") -> Parameter:
    """A whole number from least to most, written in digits alone."""
    words = words or (f"from {least} on" if most is None else f"from {least} to {most}")

    def number(kind: Any, tokens: Sequence[Token]) -> int:
        text = tokens[0].value
        value = int(text) if text.isdecimal() else -1
        if not least <= value <= (value if most is None else most):
            raise ValueError(f"must be a whole number {words}")
        return value

    # a minus is a wrong number, which is said, and no other option
    return Parameter(converter=number, metavar="N", allow_leading_hyphen=True)


def real(unit: str, metavar: str, below: float) -> Parameter:
    """A number from 0 on, and below this."""

    def number(kind: Any, tokens: Sequence[Token]) -> float:
        try:
            value = float(tokens[0].value)
        except ValueError:
            value = -1.0
        if not 0 <= value < below:
            raise ValueError(f"must be a number of {unit}, 0 or more")
        return value

    return Parameter(converter=number, metavar=metavar, allow_leading_hyphen=True)


def _budget(kind: Any, tokens: Sequence[Token]) -> str:
    from bench.measure.budget import budget

    budget(tokens[0].value)
    return tokens[0].value


def shown(default: Any) -> str | None:
    """A default as help shows it: nothing where there is none, and for what is off."""
    if default is None or default is False or default in ("", ()):
        return None
    return f"{default:g}" if isinstance(default, float) else str(default)


def option(text: str, metavar: str | None = None) -> Parameter:
    return Parameter(help=text, metavar=metavar)


Count = Annotated[int, whole(0, 1000)]
Some = Annotated[int, whole(1)]
Seconds = Annotated[float, real("seconds", "SECONDS", 1e6)]

Device = Annotated[str, option("auto, cpu, cuda:N, a GPU's UUID, a list of these, or sim:SKU[,option=value]", "DEVICE")]
Budget = Annotated[
    str,
    Parameter(
        help="wall time of the whole command, report included: sniff (9 s), quick, standard, soak, or 90s, 5m, 1h",
        metavar="BUDGET",
        converter=_budget,
    ),
]
GateBudget = Annotated[Literal["quick", "standard", "soak"], option("how long a Run may take", "BUDGET")]
Results = Annotated[Path, option("folder of Run files", "DIR")]
Reports = Annotated[Path | None, option("folder of reports", "DIR")]
Run = Annotated[Path, option("a Run file", "RUN")]
Json = Annotated[bool, option("machine output on stdout, everything else on stderr")]
Wait = Annotated[Seconds, option("how long to wait for a machine in use", "SECONDS")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What every verb that measures asks: which devices, for how long, where the Run goes."""

    device: Device = "auto"
    budget: Budget = "standard"
    seed: Annotated[
        int,
        whole(0, 2**63 - 1, "from 0 to 2^63 - 1"),
        option("seed of the random inputs and of the order of rounds", "N"),
    ] = 0
    out: Results = Path("results")
    wait: Wait = 600.0
