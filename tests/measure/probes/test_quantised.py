"""Quantised products: that each computes what its format says, what it moves, and what is said where there is none."""

from functools import partial

import pytest
import torch

from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed, Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.probes import describe, probes
from bench.measure.probes import quantised as probe


@pytest.fixture(scope="module")
def device():
    return cpu.open_cpu(seed=1)


def runnable(device, weights):
    """(method, operands, rows) of each way that this torch has for this format on the host."""
    activations = device.random(3, 256, dtype="bfloat16")
    for method in probe.methods(weights):
        try:
            yield method, activations, *probe._first([method], activations, 128, "bfloat16", device)[1]
        except Unsupported:
            continue


@pytest.mark.parametrize("weights", probe.WEIGHT_ONLY)
def test_every_method_multiplies_by_the_weight_as_it_is_quantised(device, weights):
    found = list(runnable(device, weights))
    assert found
    for method, activations, codes, scales, rows in found:
        probe._check(partial(method.product, activations, codes, scales), rows, "bfloat16")


@pytest.mark.parametrize("weights", probe.WEIGHT_ONLY)
def test_a_wrong_scale_and_a_wrong_code_are_noticed(device, weights):
    for method, activations, codes, scales, rows in runnable(device, weights):
        with pytest.raises(CheckFailed, match="differs"):
            probe._check(partial(method.product, activations, codes, scales * 1.05), rows, "bfloat16")
        with pytest.raises(CheckFailed, match="differs"):
            probe._check(partial(method.product, activations, codes.roll(1, 0), scales), rows, "bfloat16")


@pytest.mark.parametrize(
    ("weights", "bytes_each"), [("int8", 1 + 2 / 4096), ("fp8", 1 + 2 / 4096), ("int4-g128", 0.53125)]
)
def test_a_weight_has_the_bytes_of_its_format(weights, bytes_each):
    assert probe.weight_bytes(14336, 4096, weights, "bfloat16") == 14336 * 4096 * bytes_each


def test_the_next_method_stands_in_and_the_last_ones_reason_is_given(device):
    def absent(*arguments):
        raise NotImplementedError(
            "Could not run 'aten::x' with arguments from the 'CPU' backend. This could be many things"
        )

    *_, cast = probe.methods("int8")
    activations = device.random(3, 256, dtype="bfloat16")
    lacking = probe.Method("lacking", cast.weight, absent)
    assert probe._first([lacking, cast], activations, 128, "bfloat16", device)[0] is cast
    with pytest.raises(Unsupported, match=r"no such product here: Could not run 'aten::x' .* backend$"):
        probe._first([lacking], activations, 128, "bfloat16", device)


def test_copies_lie_elsewhere(device):
    scales = device.random(7, 128, dtype="bfloat16")
    copy = probe._copy(device, scales)
    assert torch.equal(copy, scales)
    assert copy.data_ptr() != scales.data_ptr()


def test_on_a_datasheet_half_the_bytes_are_half_the_time_at_batch_1(run_of):
    times = {
        (m.params["quantised"], m.params["weights"]): m.median
        for m in run_of("sim:h200-sxm", ["quantised"]).measurements
        if m.params.get("batch") == 1 and m.seconds
    }
    plain = times["unquantised", "bf16"]
    assert times["weights", "int8"] / plain == pytest.approx(0.5, rel=1e-2)
    assert times["weights", "int4-g128"] / plain == pytest.approx(0.53125 / 2, rel=1e-2)
    assert times["weights and activations", "fp8"] / plain == pytest.approx(0.5, rel=1e-2)


@pytest.mark.parametrize("sku", ["v100-sxm2-32gb", "a100-sxm4-80gb", "h200-sxm", "b200"])
def test_what_a_gpu_multiplies_is_prepared_and_the_rest_is_a_skip(sku):
    device = open_simulated(f"sim:{sku}")[0]
    cases = describe(device.info, probes()["quantised"], BUDGETS["standard"])
    both = [case for case in cases if case.params["quantised"] == "weights and activations"]
    for dtype in ("int8", "float8_e4m3"):
        mine = [case for case in both if case.params["dtype"] == dtype]
        assert [not case.skip for case in mine] == [True] * 6 if dtype in device.info.units else [False]
    for case in cases:
        if not case.skip and case.params["batch"] in (1, 1024):
            assert case.prepare(device).launches
