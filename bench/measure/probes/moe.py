"""What a mixture of experts costs per step: only experts that some token chose are read.

One launch is the routed experts of one layer: gate and up projection of every token's experts, SiLU, down projection,
on rows that are already sorted by expert; the router, the gather and the weighted sum are not in it. Its bytes are of
the experts that this routing really touches. The routing is drawn with a fixed seed, the same in every Run: uniform,
or skewed, where the r-th most popular expert is drawn as often as 1/r says. Beside the number really touched stands the
model's D(T) = E (1 - (1 - k/E)^T), which uniform and independent routing expects.

A small batch touches a few experts, which would stay in the cache from launch to launch: each launch of the ring has
the same rows on other experts.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from bench.measure.device.protocol import CheckFailed, Device
from bench.measure.probes import Cases, probe
from bench.measure.workloads import attempted, compare, dtype_of
from bench.measure.workloads.layers import gated
from bench.schema import Case, DeviceInfo, Kept, Setup
from bench.transformer import distinct_experts
from bench.work import ITEMSIZE, Work

TOKENS = (1, 4, 16, 64, 256, 1024)
ROUTINGS = ("uniform", "skewed")
_SEED = 20250807
_TOLERANCE = {"bfloat16": 3e-2, "float16": 1e-2, "float32": 1e-4}
_ROWS = 8  # rows of an expert that a check looks at


@dataclass(frozen=True)
class Experts:
    """The routed experts of one layer: how many, how many of them a token takes, model width, an expert's own width."""

    model: str
    experts: int
    active: int
    width: int
    ffn: int

    @property
    def weights(self) -> int:
        """Weights of one expert: gate, up and down."""
        return 3 * self.width * self.ffn


# From large to small; a device takes the first of which one case may hold all experts.
SHAPES = (Experts("qwen3-30b-a3b", 128, 8, 2048, 768), Experts("thin", 32, 4, 1024, 256))


@probe(version=2, asked=True, title="Mixture of experts")
def moe(info: DeviceInfo, budget) -> Cases:
    """How many experts does a step really read, and how does its time follow them?

    flops = 2 × rows × weights of an expert, rows = tokens × experts per token; bytes = the weights of the distinct
    experts once, a row in and a row out for each. Uniform routing expects D(T) = E (1 − (1 − k/E)^T) distinct
    experts of E at T tokens with k each.
    """
    dtype = dtype_of(info)
    if not dtype:
        return
    room = budget.memory * info.memory_bytes if info.units[dtype] == "tensor" else 0
    shape = next((s for s in SHAPES if s.experts * s.weights * ITEMSIZE[dtype] <= room), SHAPES[-1])
    facts = {"model": shape.model, "experts": shape.experts, "active": shape.active, "width": shape.width}
    for routing in ROUTINGS:
        # the largest first: from the FLOP/s of a few tokens many would seem hopeless
        for tokens in budget.thin(TOKENS)[::-1]:
            loads = routed(shape, tokens, routing)
            distinct = sum(load > 0 for load in loads)
            params = {"routing": routing, "dtype": dtype, "tokens": tokens} | facts
            yield Case(
                params=params | {"expert_ffn": shape.ffn, "distinct": distinct},
                work=work_of(shape, tokens, distinct, dtype, info.units[dtype]),
                prepare=partial(_prepare, shape, tokens, loads, dtype),
            )


@cache
def routed(shape: Experts, tokens: int, routing: str) -> tuple[int, ...]:
    """Rows of each expert. The first tokens are the same for every number of tokens, so that more touch no fewer."""
    draw = random.Random(_SEED)
    order = list(range(shape.experts))
    draw.shuffle(order)
    weights = [1.0 if routing == "uniform" else 1 / (rank + 1) for rank in range(shape.experts)]
    loads = [0] * shape.experts
    for _ in range(tokens):
        chosen: set[int] = set()
        while len(chosen) < shape.active:
            chosen.update(draw.choices(order, weights))
        for expert in chosen:
            loads[expert] += 1
    return tuple(loads)


def work_of(shape: Experts, tokens: int, distinct: int, dtype: str, unit: str) -> Work:
    """Weights of the distinct experts once; a row in and a row out for each of a token's experts."""
    rows = tokens * shape.active
    moved = ITEMSIZE[dtype] * (distinct * shape.weights + 2 * rows * shape.width)
    return Work(2.0 * rows * shape.weights, unit, dtype, bytes=float(moved))


def placed(loads: Sequence[int]) -> list[tuple[int, ...]]:
    """The same rows on as many disjoint sets of experts as there are: none is met twice on the way through them."""
    busy, count = [load for load in loads if load], len(loads)
    order = list(range(count))
    random.Random(_SEED).shuffle(order)
    placements = []
    for begin in range(0, count - len(busy) + 1, len(busy)):
        rows = dict(zip(sorted(order[begin : begin + len(busy)]), busy, strict=True))
        placements.append(tuple(rows.get(expert, 0) for expert in range(count)))
    return placements


def _prepare(shape: Experts, tokens: int, loads: tuple[int, ...], dtype: str, device: Device) -> Setup:
    import torch

    placements = placed(loads)
    distinct = sum(load > 0 for load in loads)
    once = len(placements) * work_of(shape, tokens, distinct, dtype, "").bytes
    launches: list[Kept] = []
    for _ in range(device.rotation(once, "cold")):
        # stored as rows of outputs, as a checkpoint has them
        up = device.random(shape.experts, 2 * shape.ffn, shape.width, dtype=dtype).transpose(-1, -2)
        down = device.random(shape.experts, shape.width, shape.ffn, dtype=dtype).transpose(-1, -2)
        for placement in placements:
            rows = device.random(tokens * shape.active, shape.width, dtype=dtype)
            ends = torch.tensor(placement, device=rows.device).cumsum(0).to(torch.int32)
            if not launches:
                grouped = device.info.simulated or not attempted(partial(_grouped, rows, up, down, ends))[1]
            call = _grouped if grouped else partial(_looped, placement)
            launches.append(Kept(call, rows, up, down, ends))
    notes = {
        "method": "torch._grouped_mm" if grouped else "a loop of torch.mm over the touched experts",
        "distinct": str(distinct),
        "expected": f"{distinct_experts(shape.experts, shape.active, tokens):.2f}",
        "fullest": str(max(loads)),
    }
    return Setup(launches, partial(_check, launches[-1], placements[-1], dtype), notes=notes)


def _grouped(rows: Any, up: Any, down: Any, ends: Any) -> Any:
    import torch

    return torch._grouped_mm(gated(torch._grouped_mm(rows, up, offs=ends)), down, offs=ends)


def _looped(loads: tuple[int, ...], rows: Any, up: Any, down: Any, ends: Any) -> Any:
    """`loads` are known to the host, as they are in no engine that captures its steps: the loop's best case."""
    import torch

    out, begin = torch.empty_like(rows), 0
    for expert, load in enumerate(loads):
        if load:
            part = slice(begin, begin + load)
            torch.mm(gated(rows[part] @ up[expert]), down[expert], out=out[part])
            begin += load
    return out


def _check(launch: Any, loads: tuple[int, ...], dtype: str) -> None:
    """Some rows of the first and of the last touched expert against float64; no row left out."""
    rows, up, down, _ = launch.args[-4:]
    out = launch()
    if not bool(out.isfinite().all()):
        raise CheckFailed("the experts left rows unwritten")
    busy = [expert for expert, load in enumerate(loads) if load]
    last = len(rows) - min(_ROWS, loads[busy[-1]])
    for expert, part in ((busy[0], slice(0, min(_ROWS, loads[busy[0]]))), (busy[-1], slice(last, None))):
        expected = gated(rows[part].double() @ up[expert].double()) @ down[expert].double()
        compare(f"expert {expert}", out[part], expected, _TOLERANCE[dtype], "float64")
