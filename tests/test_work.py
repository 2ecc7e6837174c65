"""The formulas, audited from outside: by torch's flop counter and by the tensors that a launch really touches."""

import functools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench import work
from bench.measure.budget import BUDGETS
from bench.measure.device.protocol import Kernel
from bench.measure.device.sim import open_simulated
from bench.measure.probes import describe, probes
from bench.measure.workloads.layers import SHAPES


def causal(p):
    """What the mask leaves of the flops that the counter counts in a layer, or in its attention alone."""
    new = p.get("chunk", p["tokens"] if p.get("phase") == "prefill" else 0)
    part = p.get("part", "layer")
    if not new or part not in ("layer", "prefill attention"):
        return 1.0
    shape = next(shape for shape in SHAPES if shape.model == p["model"])
    pair = 4 * shape.heads * shape.head_dim
    counted = pair * new**2
    if part == "layer":
        counted += 2 * p["tokens"] * sum(n * k for n, k in shape.products.values())
    if "chunk" in p:
        counted += pair * p["batch"] * p["context"]
    return 1 - pair * new * (new - 1) / 2 / counted


# Where the declared work rightly differs from what the audit sees: (probe, predicate on params) -> factor and reason.
EXCEPTIONS = {
    ("attention", "flops"): (
        lambda p: (
            (p["queries"] * p["keys"] - p["queries"] * (p["queries"] - 1) / 2) / (p["queries"] * p["keys"])
            if p["causal"]
            else 1.0
        ),
        "the counter counts masked pairs too; the causal half is not needed and not declared",
    ),
    ("layer", "flops"): (causal, "as in attention: masked pairs are not needed and not declared"),
    ("mixed", "flops"): (causal, "as in attention: masked pairs are not needed and not declared"),
    ("decode", "flops"): (
        lambda p: 1 - (p["new"] - 1) / 2 / (p["prefix"] + p["new"]) if "prefix" in p else 1.0,
        "as in attention: masked pairs are not needed and not declared",
    ),
    ("allreduce", "bytes"): (
        lambda p: 2 * (p["ranks"] - 1) / p["ranks"],
        "a ring sends 2 (n-1)/n of the array over the link, whatever its buffer's size",
    ),
    ("hostcopy", "bytes"): (
        lambda p: 0.5 if p["bytes"] > 8 else 0.0,
        "the link carries the payload once, though it is read on one side and written on the other; a waited copy of"
        " a few bytes claims no rate",
    ),
    ("moe", "bytes"): (
        lambda p: _moe_bytes(p, p["distinct"]) / (_moe_bytes(p, p["experts"]) + 4 * p["experts"]),
        "a launch is given all experts and where each one's rows end; it reads the experts that have rows",
    ),
    ("fusion", "flops"): (
        lambda p: (
            1 - _masked(p) / (_linear(p) + 4 * p["heads"] * p["head_dim"] * p["tokens"] ** 2)
            if p["form"] == "recomputed"
            else 1.0
        ),
        "the counter counts masked pairs too, as in attention",
    ),
    ("latency", "bytes"): (lambda p: 0.0, "a chase touches one line at a time: a latency, no rate"),
}


def _moe_bytes(p, experts: int) -> float:
    """Weights of so many experts, and a row in and out for each of a token's, at two bytes."""
    return 2 * (experts * 3 * p["width"] * p["expert_ffn"] + 2 * p["tokens"] * p["active"] * p["width"])


def _linear(p) -> float:
    """Flops of a layer's projections and gated MLP over all tokens."""
    return 2 * p["tokens"] * p["width"] * (2 * (p["heads"] + p["kv_heads"]) * p["head_dim"] + 3 * p["ffn"])


def _masked(p) -> float:
    """Flops of the pairs above a causal mask's diagonal."""
    return 4 * p["heads"] * p["head_dim"] * p["tokens"] * (p["tokens"] - 1) / 2


# Scalars (a sum, a scale factor) are too small to be declared.
SLACK = 64


def cases():
    device = open_simulated("sim:h200-sxm,gpus=2")[0]
    for probe in probes().values():
        for case in describe(device.info, probe, BUDGETS["quick"]):
            if not case.skip:
                yield pytest.param(
                    device, probe.name, case, id=f"{probe.name}-{'-'.join(map(str, case.params.values()))}"
                )


class Elementwise(TorchDispatchMode):
    """Counts the additions and multiplications of a twin, element by element."""

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        size = out.numel() if isinstance(out, torch.Tensor) else 0
        if name in ("mul", "mul_"):
            self.flops += size
        elif name in ("add", "add_"):
            scaled = (kwargs or {}).get("alpha", args[2] if len(args) > 2 else 1) != 1
            self.flops += size * (2 if scaled else 1)
        elif name == "sum":
            self.flops += args[0].numel()
        return out


def tensors(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, functools.partial):
        return tensors(value.args)
    if isinstance(value, (tuple, list)):
        return [t for item in value for t in tensors(item)]
    return [t for item in value.values() for t in tensors(item)] if isinstance(value, dict) else []


@pytest.mark.parametrize(("device", "probe", "case"), list(cases()))
def test_declared_work_is_what_a_launch_does(device, probe, case):
    launch = case.prepare(device).launches[0]
    assert isinstance(launch, functools.partial)
    kernel = launch.args[0] if launch.args and isinstance(launch.args[0], Kernel) else None
    touched = tensors(launch.args) + tensors(launch.keywords)
    if kernel:
        flops, passes = _twin_flops(kernel, launch.args[1:], case.params)
    elif probe == "allreduce":
        flops, passes = 0, 1
    else:
        counter = FlopCounterMode(display=False, custom_mapping=UNCOUNTED)
        with counter:
            result = _scaled(*launch.args, **launch.keywords) if launch.func is torch._scaled_mm else launch()
        flops, passes = counter.get_total_flops(), 1
        touched += tensors(result)
    distinct = {id(t): t.numel() * t.element_size() for t in touched}
    seen = {"flops": flops, "bytes": passes * sum(distinct.values())}
    for amount in ("flops", "bytes"):
        factor, _ = EXCEPTIONS.get((probe, amount), (lambda p: 1.0, ""))
        expected = seen[amount] * factor(case.params)
        assert getattr(case.work, amount) == pytest.approx(expected, rel=1e-9, abs=SLACK * passes), amount


def _scaled(a, b, out, **how):
    """The same op without out=, which torch has no meta kernel for."""
    assert torch._scaled_mm(a, b, **how).shape == out.shape


def _int_mm_flops(a_shape, b_shape, *_, out_shape=None, **__) -> int:
    return 2 * a_shape[0] * a_shape[1] * b_shape[1]


def _rows_flops(a_shape, b_shape, *_, out_shape=None, **__) -> int:
    """Rows against a weight stored by rows of outputs, or sorted by the weight of a group they are multiplied by."""
    return 2 * a_shape[0] * a_shape[1] * out_shape[-1]


# Products that torch's counter does not know.
UNCOUNTED = {
    torch.ops.aten._int_mm: _int_mm_flops,
    torch.ops.aten._weight_int8pack_mm: _rows_flops,
    torch.ops.aten._weight_int4pack_mm_for_cpu: _rows_flops,
    torch.ops.aten._grouped_mm: _rows_flops,
}


def _twin_flops(kernel: Kernel, arguments: tuple, params) -> tuple[float, int]:
    """Flops of the twin, counted; long chains from two short ones, because they are linear in their steps."""

    def counted(steps: int) -> int:
        given = list(arguments)
        given[kernel.elements + 1] = steps
        with Elementwise() as counter:
            kernel.twin(*given)
        return counter.flops

    if kernel.name in ("chase", "empty"):
        return 0, 1  # they do no arithmetic
    repeats = arguments[kernel.elements + 1]
    if kernel.name in ("mma", "wgmma"):
        with FlopCounterMode(display=False) as counter:
            kernel.twin(*arguments)
        return counter.get_total_flops() * repeats, 1
    if kernel.name == "onchip":
        return tensors(arguments)[0].numel() * repeats, repeats
    if kernel.name == "stream":
        # a twin makes one pass; the sum of `read` is scaled by the passes, which is no flop per element
        elements = tensors(arguments)[0].numel()
        declared = {"read": 1, "write": 0, "copy": 0, "scale": 1, "add": 1, "triad": 2}[params["mix"]]
        if params["mix"] in ("scale", "add", "triad"):
            assert counted(1) == declared * elements
        return declared * elements * repeats, repeats
    one, two = counted(1), counted(2)
    return one + (two - one) * (repeats - 1) if repeats else counted(0), 1


def test_gemm_counts_scales_and_batches():
    one = work.gemm(2, 3, 4, "float32", "vector")
    assert (one.flops, one.bytes) == (48, (8 + 12 + 6) * 4)
    assert work.gemm(2, 3, 4, "float32", "vector", batch=5).flops == 5 * one.flops
    assert work.gemm(2, 3, 4, "int8", "tensor", out="int32").bytes == 8 + 12 + 6 * 4


def test_causal_attention_with_a_cached_prefix():
    """New tokens see the whole prefix and their own past: 3 queries after 5 cached keys see 6 + 7 + 8 pairs."""
    assert work.attention(1, 1, 1, 3, 8, 1, "float32", "vector", causal=True).flops == 4 * (6 + 7 + 8)


def test_all_reduce_factors():
    assert work.all_reduce(1e9, 8).bytes == 1e9 * 14 / 8
    assert work.all_reduce(1e9, 8, channel="fabric").channel == "fabric"


def test_intensity_without_bytes_is_infinite():
    assert work.Work(1.0, "vector", "float32").intensity == float("inf")
