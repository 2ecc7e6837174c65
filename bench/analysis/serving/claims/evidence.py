"""What a machine says to a claim: the machine under question, each part of which names the probe that would supply it,
and how a number decides.

Measured claims are right within 15 %, wrong beyond a factor of 1.5, and in between they depend; an order or a sign is
right where it holds on the whole sweep.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import units
from bench.analysis.fit import Fit
from bench.analysis.serving.machine import ASSUMED, Machine
from bench.analysis.serving.step import StepTime, timed
from bench.analysis.summary import Summary
from bench.models import model
from bench.roofline import Roof
from bench.schema import SUSTAINED
from bench.transformer import FORMATS, Model, Precision, Step

RIGHT, CONDITION, DEPENDS, WRONG, OPEN = "right", "right with condition", "depends", "wrong", "not measurable"
VERDICTS = (RIGHT, CONDITION, DEPENDS, WRONG, OPEN)
NEAR, FAR = 1.15, 1.5


class MissingProbe(Exception):
    """The Run lacks what would answer; the message is the probe to run."""


@dataclass(frozen=True)
class Evidence:
    """text: what this machine shows. verdict: as it decides, or "". depends_on: what the verdict hangs on, where."""

    text: str
    verdict: str = ""
    depends_on: str = ""


@cache
def facts() -> Mapping[str, Any]:
    """claims.toml: what the texts say, and the numbers of the reference by claim."""
    return tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))


# --- numbers inside sentences: `{0:s}` is a time, `{0:B}` bytes, `{0:%}` a share; all spelled by bench.units


def _amount(value: float) -> str:
    """A bare number: whole ones in full, with a comma every three digits."""
    if abs(value) >= 1e7:
        return units.number(value, 4)
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else units.digits(value)


_SPELLED = {
    "": _amount,
    "B": lambda value: units.bandwidth(value).removesuffix("/s"),
    "FLOP": lambda value: units.flops(value, 4).removesuffix("/s"),
    "B/s": units.bandwidth,
    "FLOP/s": units.flops,
    "I": units.intensity,
    "s": units.seconds,
    "h": lambda value: f"{units.digits(value / 3600)} h",
    "%": units.percent,
    "size": units.size,
    "J": units.joules,
    "W": units.watts,
    "ratio": units.digits,
}


class _Number(float):
    """A number that a template prints in a unit."""

    def __format__(self, unit: str) -> str:
        return _SPELLED[unit](float(self))


def filled(template: str, *values: float, **named: float) -> str:
    return template.format(*map(_Number, values), **{name: _Number(value) for name, value in named.items()})


# --- verdicts


def judged(claimed: float, measured: float) -> str:
    """The verdict on a number."""
    ratio = claimed / measured
    ratio = max(ratio, 1 / ratio)
    return RIGHT if ratio <= NEAR else WRONG if ratio > FAR else DEPENDS


def at_most(limit: float, measured: float) -> str:
    """The verdict on "no more than"."""
    return RIGHT if measured <= limit * NEAR else judged(limit, measured)


def at_least(limit: float, measured: float) -> str:
    return RIGHT if measured >= limit / NEAR else judged(limit, measured)


def within(low: float, high: float, measured: Iterable[float]) -> str:
    """The verdict on a range: right or wrong where every value says so."""
    said = {
        RIGHT if low / NEAR <= each <= high * NEAR else judged(min(max(each, low), high), each) for each in measured
    }
    return said.pop() if len(said) == 1 else DEPENDS


def rises(values: Iterable[float], slack: float = 0.03) -> bool:
    """Whether each value is at least the one before it, but for scatter."""
    return all(after >= before * (1 - slack) for before, after in pairwise(values))


def crossing(points: Iterable[tuple[float, float]], level: float) -> float | None:
    """The first x where a line through the points passes a level; None where it does not."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if (y0 - level) * (y1 - level) <= 0 and y0 != y1:
            return x0 + (x1 - x0) * (level - y0) / (y1 - y0)
    return None


# --- the models that the texts name

PLAIN, FP8 = Precision(), FORMATS["fp8"]


def llama(size: str) -> Model:
    """7B and 2-70B have Llama 2's vocabulary, the others are Llama 3.1."""
    return model({"7B": "Llama-2-7B", "2-70B": "Llama-2-70B"}.get(size, f"Llama-3.1-{size}"))


def kv(shape: Model, tokens: float = 1.0) -> float:
    """Bytes of KV in 16 bits."""
    return shape.kv_bytes_per_token(FORMATS["bf16"]) * tokens


def streamed(shape: Model, weight_bytes: float = 2.0) -> float:
    """Bytes of weights read for one token."""
    return shape.matmul_params_token * weight_bytes


# --- the machine

_SERVING = ("bfloat16", "float16", "float32")
# What the first version of a probe left unsaid.
_ONCE = {"backend": "default", "strided": 0}


class MachineUnderTest:
    """One fitted device of a Run, and the Machine made of it where there is one. Everything may raise MissingProbe."""

    def __init__(self, fit: Fit, machine: Machine | None):
        self.fit = fit
        self._machine = machine
        self.memory = float(fit.info.memory_bytes)

    @cached_property
    def machine(self) -> Machine:
        if self._machine is None:
            raise MissingProbe("peak" if self.fit.roofline.find("dram") else "bandwidth")
        return self._machine

    @cached_property
    def bandwidth(self) -> float:
        """B/s of the memory."""
        roof = self.fit.roofline.find("dram")
        if roof is None:
            raise MissingProbe("bandwidth")
        return roof.rate

    @cached_property
    def roof(self) -> Roof:
        """The roof of matrix products in the dtype that serving uses here: 16 bits where there are any."""
        for dtype in _SERVING:
            if (unit := self.fit.info.units.get(dtype)) and (roof := self.fit.roofline.find(f"{unit}.{dtype}.library")):
                return roof
        raise MissingProbe("peak")

    @property
    def peak(self) -> float:
        return self.roof.rate

    @property
    def dtype(self) -> str:
        return self.roof.key.dtype

    @property
    def ridge(self) -> float:
        return self.peak / self.bandwidth

    def if_product(self, wanted: str, verdict: str) -> str:
        """The verdict on a claim about one product; another machine cannot refute it, and leaves the reference's."""
        info = self.fit.info
        named = f"{info.sku} {info.product} {info.name}".lower()
        return verdict if verdict == RIGHT or re.search(rf"\b{wanted}\b", named) else ""

    def cases(self, probe: str, **params: Any) -> tuple[Summary, ...]:
        """The probe's usable cases with these params, at least one."""
        found = tuple(
            case
            for case in self.fit.cases
            if case.probe == probe
            and case.seconds
            and case.regime != SUSTAINED
            and all(case.params.get(key, _ONCE.get(key)) == value for key, value in params.items())
        )
        if not found:
            raise MissingProbe(probe)
        return found

    def sweep(self, probe: str, over: str, **params: Any) -> dict[int, float]:
        """Seconds by one param, rising; at least two of them."""
        seconds = {int(case.params[over]): case.seconds.value for case in self.cases(probe, **params)}
        if len(seconds) < 2:
            raise MissingProbe(probe)
        return dict(sorted(seconds.items()))

    def slower(self, probe: str, over: str, key: str, slow: Any, quick: Any, **params: Any) -> dict[int, float]:
        """How many times as long one way takes as another, by a param that both were measured over."""
        one, other = (self.sweep(probe, over, **params, **{key: way}) for way in (slow, quick))
        if ratios := {at: one[at] / other[at] for at in one if at in other}:
            return ratios
        raise MissingProbe(probe)

    @cached_property
    def gemm(self) -> Mapping[int, Summary]:
        """Rows -> case of the larger weight matrix, in the dtype of serving."""
        found = self.cases("gemm", dtype=self.dtype, strided=0)
        shape = max((case.params["n"], case.params["k"]) for case in found)
        rows = {case.params["batch"]: case for case in found if (case.params["n"], case.params["k"]) == shape}
        if 1 not in rows or len(rows) < 3:
            raise MissingProbe("gemm")
        return dict(sorted(rows.items()))

    @property
    def knee(self) -> float:
        """Rows where the flat line through one row's time meets the compute roof: two measured numbers, no fit."""
        one = self.gemm[1]
        return one.seconds.value * self.peak / one.work.flops

    def near(self, rows: int) -> int:
        """The measured number of rows nearest to so many, but more than one."""
        return min((each for each in self.gemm if each > 1), key=lambda each: abs(math.log(each / rows)))

    def slowdown(self, rows: int) -> float:
        """Seconds of so many rows, which were measured, over those of one."""
        return self.gemm[rows].seconds.value / self.gemm[1].seconds.value

    @cached_property
    def layers(self) -> dict[int, float]:
        """Batch -> seconds of a whole layer that decodes, at the context with most batches."""
        cases = self._layers("decode")
        by: dict[int, dict[int, float]] = {}
        for case in cases:
            by.setdefault(case.params["context"], {})[case.params["batch"]] = case.seconds.value
        longest = max(by.values(), key=len)
        if len(longest) < 2:
            raise MissingProbe("layer")
        return dict(sorted(longest.items()))

    @cached_property
    def prompts(self) -> tuple[Summary, ...]:
        """Whole layers that take a prompt, of one model, the shortest first."""
        return tuple(sorted(self._layers("prefill"), key=lambda case: case.params["tokens"]))

    def _layers(self, phase: str) -> list[Summary]:
        """Whole layers of the model that was measured first."""
        found = self.cases("layer", part="layer", phase=phase)
        return [case for case in found if case.params["model"] == found[0].params["model"]]

    @property
    def lone_user(self) -> Summary:
        """The whole layer that decodes for the fewest, with the fewest bytes."""
        found = self.cases("layer", part="layer", phase="decode")
        return min(found, key=lambda case: (case.params["batch"], case.work.bytes))

    def step(self, shape: Model, step: Step) -> StepTime:
        """A step by this machine's curves; where products or attention were not measured there is none."""
        for probe in ("gemm", "attention"):
            if probe in self.machine.partial:
                raise MissingProbe(probe)
        return timed(shape, self.machine, PLAIN, step)

    @staticmethod
    def caveat(*steps: StepTime) -> str:
        """What a sentence on steps must add where a start or a lesser kernel was not measured."""
        return "; partly assumed" if any(step.origin == ASSUMED for step in steps) else ""

    def decode(self, *layouts: str) -> tuple[dict[int, float], ...]:
        """Of each layout, context -> seconds of decode attention, at the largest batch that all were measured at."""
        asked = {"phase": "decode", "backend": "default"}
        batches = [
            {case.params["batch"] for case in self.cases("attention", layout=layout, **asked)} for layout in layouts
        ]
        common = set.intersection(*batches)
        if not common:
            raise MissingProbe("attention")
        return tuple(self.sweep("attention", "keys", layout=each, batch=max(common), **asked) for each in layouts)
