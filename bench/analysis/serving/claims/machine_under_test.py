"""The machine under question: its roofs, its memory, its cases and its steps; each says which probe would supply it."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from bench.analysis.fit import Fit
from bench.analysis.serving.claims.evidence import MissingProbe
from bench.analysis.serving.machine import ASSUMED, Machine
from bench.analysis.serving.step import StepTime, timed
from bench.analysis.summary import Summary
from bench.roofline import Roof
from bench.schema import SUSTAINED
from bench.transformer import Model, Precision, Step

_SERVING = ("bfloat16", "float16", "float32")
# What the first version of a probe left unsaid.
_ONCE = {"backend": "default", "strided": 0}


class MachineUnderTest:
    """One fitted device of a Run, and the Machine made of it where there is one. Everything may raise MissingProbe."""

    def __init__(self, fit: Fit, machine: Machine | None):
        self.fit = fit
        self._machine = machine
        self.memory = float(fit.info.memory_bytes)
        self.product = f"{fit.info.sku} {fit.info.product} {fit.info.name}".lower()

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
        found = {int(case.params[over]): case.seconds.value for case in self.cases(probe, **params)}
        if len(found) < 2:
            raise MissingProbe(probe)
        return dict(sorted(found.items()))

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
        found = self.cases("layer", part="layer", phase="decode")
        model = found[0].params["model"]
        by: dict[int, dict[int, float]] = {}
        for case in found:
            if case.params["model"] == model:
                by.setdefault(case.params["context"], {})[case.params["batch"]] = case.seconds.value
        longest = max(by.values(), key=len)
        if len(longest) < 2:
            raise MissingProbe("layer")
        return dict(sorted(longest.items()))

    @cached_property
    def prompts(self) -> tuple[Summary, ...]:
        """Whole layers that take a prompt, of one model, the shortest first."""
        found = self.cases("layer", part="layer", phase="prefill")
        mine = [case for case in found if case.params["model"] == found[0].params["model"]]
        return tuple(sorted(mine, key=lambda case: case.params["tokens"]))

    def step(self, model: Model, precision: Precision, step: Step) -> StepTime:
        """A step by this machine's curves; where products or attention were not measured there is none."""
        machine = self.machine
        for probe in ("gemm", "attention"):
            if probe in machine.partial:
                raise MissingProbe(probe)
        return timed(model, machine, precision, step)

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

    def watts(self, load: str) -> float:
        if load not in self.machine.watts:
            raise MissingProbe("peak" if load == "compute" else "bandwidth")
        return self.machine.watts[load]
