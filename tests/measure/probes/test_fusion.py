"""What serving's habits save: that both ways of each give the same, and that the peak and the padding are counted."""

from functools import partial

import pytest
import torch

from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed
from bench.measure.probes import fusion as probe
from bench.measure.workloads import ring
from bench.measure.workloads.attention import check_last_head, unfused
from bench.measure.workloads.layers import Shape

LAYER = Shape("toy", 1, 128, 4, 2, 32, 96)


@pytest.fixture(scope="module")
def device():
    return cpu.open_cpu(seed=1)


@pytest.mark.parametrize("form", ["cached", "recomputed"])
@pytest.mark.parametrize("context", [2, 128, 777])
def test_a_token_by_its_cache_is_the_token_computed_again(device, form, context):
    token(device, form, context).check()


def token(device, form, context):
    """A token's setup, with one set of buffers."""
    make = partial(probe._token, LAYER, form, context, "bfloat16")
    return ring(make, partial(probe._check_token, context, "bfloat16"), 1e9, None, device)


def forgetful(layer, token, keys, values, *weights):
    """Does not append to the cache."""
    query, *_ = probe._projected(layer, token, weights[0])
    return probe._mixed(query, keys, values, *weights[1:])


def short(layer, token, keys, values, *weights):
    """Does not see the oldest half of the cache."""
    probe.cached(layer, token, keys, values, *weights)
    query, *_ = probe._projected(layer, token, weights[0])
    half = keys.shape[2] // 2
    return probe._mixed(query, keys[:, :, half:], values[:, :, half:], *weights[1:])


@pytest.mark.parametrize("wrong", [forgetful, short])
def test_a_wrong_cache_is_noticed(device, wrong):
    launch = token(device, "cached", 256).launches[-1]
    with pytest.raises(CheckFailed, match="differs from the token computed again"):
        probe._check_token(256, "bfloat16", partial(wrong, *launch.args))


def test_unfused_attention_holds_its_scores_and_fused_does_not(device):
    peaks = {}
    for form in ("fused", "unfused"):
        make = partial(probe._attention, form, 4, 1024, "bfloat16")
        setup = ring(make, partial(check_last_head, allowed=5e-2, queries=8), 1e9, partial(probe._peak, 0.0), device)
        setup.check()
        assert setup.notes["peak"] == "torch's profiler"
        peaks[form] = float(setup.notes["peak_bytes"])
    scores = 4 * 1024**2 * 2
    assert peaks["unfused"] == pytest.approx(probe.computed_peak("unfused", 4, 1024, "bfloat16"), rel=0.1)
    assert peaks["unfused"] > 2 * scores
    assert peaks["fused"] < scores / 2


def test_wrong_attention_is_noticed(device):
    query, key, value = (device.random(1, 2, 64, 128, dtype="bfloat16") for _ in range(3))
    check_last_head(partial(unfused, query, key, value), 5e-2)
    with pytest.raises(CheckFailed, match="differs from float64"):
        check_last_head(partial(lambda q, k, v: unfused(q, k.flip(2), v), query, key, value), 5e-2)


def test_a_peak_is_what_one_launch_holds_at_once():
    def launch(x):
        y = x + 1  # freed before the second one
        del y
        return torch.cat([x, x])

    size = 1 << 20
    peak, origin = probe.measured_peak(partial(launch, torch.zeros(size // 4)))
    assert peak == pytest.approx(2 * size, rel=0.05)
    assert origin == "torch's profiler"


def test_recomputing_does_the_work_of_every_token():
    """2 flops a weight and token, 4 a head element and visible pair; the cache is read once and the weights once."""
    cached, again = (probe.token_work(LAYER, form, 100, "bfloat16", "vector") for form in ("cached", "recomputed"))
    weights = 128 * 32 * (4 + 2 + 2 + 4) + 3 * 128 * 96
    assert LAYER.matrices == weights
    assert cached.flops == 2 * weights + 4 * 4 * 32 * 100
    assert again.flops == 100 * 2 * weights + 4 * 4 * 32 * 5050
    assert cached.bytes == 2 * (weights + 2 * 2 * 32 * 100 + 2 * 128)
    assert again.bytes == 2 * (weights + 2 * 128 * 100)


def test_padded_rows_are_the_longest_times_all_and_waste_grows_with_the_batch(run_of):
    rows, waste = {}, {}
    for m in run_of("sim:h200-sxm", ["fusion"]).measurements:
        if m.params["part"] == "padding":
            assert m.seconds, m.skip
            rows[m.params["sequences"], m.params["form"]] = m.params["rows"]
            waste[m.params["sequences"]] = float(m.notes["waste"])
    for sequences, share in waste.items():
        assert 1 - rows[sequences, "packed"] / rows[sequences, "padded"] == pytest.approx(share, abs=1e-4)
    assert waste[2] < waste[32]
    prompts = probe.lengths(1000, 256, 2048)
    assert sorted(prompts)[500] == pytest.approx(256, rel=0.1)
    assert max(prompts) == 2048
    assert prompts[:32] == probe.lengths(32, 256, 2048)
