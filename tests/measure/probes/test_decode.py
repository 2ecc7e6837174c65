"""Attention variants, sampling and their kin against float64 or plain Python, and the work they declare."""

import math
from functools import partial

import pytest
import torch

from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed
from bench.measure.device.sim import open_simulated
from bench.measure.probes import decode as decode_probe
from bench.measure.probes import describe, probes
from bench.measure.workloads import attention, ring


@pytest.fixture(scope="module")
def device():
    return cpu.open_cpu(seed=5)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cases(sku="sim:h200-sxm", budget="standard"):
    device = open_simulated(sku)[0]
    return describe(device.info, probes()["decode"], BUDGETS[budget])


@pytest.mark.parametrize("method", decode_probe.LATENT)
def test_absorbed_latent_attention_is_the_expanded_one(method):
    """Each head's keys and values expanded from the latent, as in prefill, against comparing with the latent itself."""
    batch, heads, tokens, rank, rope, nope, wide = 2, 3, 7, 10, 4, 6, 5
    latent, shared = drawn(batch, tokens, rank), drawn(batch, tokens, rope, seed=1)
    to_keys, to_values = drawn(heads, rank, nope, seed=2), drawn(heads, rank, wide, seed=3)
    plain, turned = drawn(batch, heads, nope, seed=4), drawn(batch, heads, rope, seed=5)
    # SDPA divides by the root of the latent key's width, DeepSeek by that of the expanded one; here both use SDPA's
    scale = (rank + rope) ** -0.5
    expected = torch.empty(batch, heads, wide, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            keys, values = latent[b] @ to_keys[h], latent[b] @ to_values[h]
            scores = (keys @ plain[b, h] + shared[b] @ turned[b, h]) * scale
            expected[b, h] = torch.softmax(scores, 0) @ values
    absorbed = torch.einsum("bhn,hrn->bhr", plain, to_keys)
    queries = torch.cat((absorbed, turned), -1).unsqueeze(1)
    found = decode_probe.LATENT[method](queries, torch.cat((latent, shared), -1), rank).squeeze(1)
    torch.testing.assert_close(torch.einsum("bhr,hrw->bhw", found, to_values), expected)


def test_ragged_decode_is_each_sequence_alone():
    lengths = (3, 1, 6)
    queries = drawn(3, 4, 1, 8)
    keys = [drawn(1, 2, n, 8, seed=n) for n in lengths]
    values = [drawn(1, 2, n, 8, seed=10 + n) for n in lengths]
    longest = max(lengths)
    padded = [torch.zeros(3, 4, longest, 8, dtype=torch.float64) for _ in range(2)]
    seen = torch.zeros(3, 1, 1, longest, dtype=torch.bool)
    for i, n in enumerate(lengths):
        for pad, own in zip(padded, (keys[i], values[i]), strict=True):
            pad[i, :, :n] = own[0].repeat_interleave(2, 0)
        seen[i, ..., :n] = True
    scores = (queries @ padded[0].transpose(2, 3) / math.sqrt(8)).masked_fill(~seen, -math.inf)
    expected = torch.softmax(scores, -1) @ padded[1]
    torch.testing.assert_close(torch.cat(attention.one_by_one(queries, keys, values)), expected)


@pytest.mark.parametrize("prefix", [0, 5])
def test_a_new_token_sees_the_prefix_and_what_is_before_it(prefix):
    new, context = 4, prefix + 4
    queries, keys, values = drawn(1, 4, new, 8), drawn(1, 2, context, 8, seed=1), drawn(1, 2, context, 8, seed=2)
    found = attention.prefixed(queries, keys, values)(queries, keys, values)
    for token in range(new):
        for head in range(4):
            seen = prefix + token + 1
            scores = keys[0, head // 2, :seen] @ queries[0, head, token] / math.sqrt(8)
            expected = torch.softmax(scores, 0) @ values[0, head // 2, :seen]
            torch.testing.assert_close(found[0, head, token], expected)


def test_a_quantised_cache_is_widened_by_its_scales():
    queries = drawn(2, 4, 1, 8)
    narrow = [torch.randint(-128, 128, (2, 2, 9, 8), dtype=torch.int8) for _ in range(2)]
    scales = [drawn(2, 2, 9, 1, seed=i).abs() / 50 for i in range(2)]
    wide = [x.double() * scale for x, scale in zip(narrow, scales, strict=True)]
    found = attention.dequantised(queries, narrow[0], scales[0], narrow[1], scales[1])
    torch.testing.assert_close(found, attention.attend(queries, *wide))


def test_greedy_takes_the_likeliest():
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, -1.0, 1.0]])
    assert decode_probe.greedy(logits).tolist() == [1, 0]


def test_top_p_samples_the_truncated_distribution():
    """Evenly spread numbers must give each token its share of what is kept, and none to the rest."""
    chances = torch.tensor([0.05, 0.5, 0.02, 0.25, 0.18])  # 0.5, 0.25 and 0.18 reach 0.9; the others are left out
    n = 10_000
    uniform = (torch.arange(n) + 0.5).div(n).unsqueeze(1)
    tokens = decode_probe.top_p(chances.log().expand(n, -1), uniform)
    found = torch.bincount(tokens, minlength=5) / n
    kept = torch.tensor([0.0, 0.5, 0.0, 0.25, 0.18]) / 0.93
    torch.testing.assert_close(found, kept, atol=2e-4, rtol=0)


def test_top_p_at_the_ends():
    logits = torch.tensor([[5.0, 1.0, 0.0, 4.9]])
    assert decode_probe.top_p(logits, torch.tensor([[0.0]])).item() == 0
    assert decode_probe.top_p(logits, torch.tensor([[1.0]])).item() == 3


def test_every_check_accepts_what_is_right_and_refuses_what_is_wrong(device, monkeypatch):
    for name, value in (("NEW", 16), ("WIDTH", 64), ("VOCABULARY", 1000), ("HEADS", 4), ("GROUPED", 2)):
        monkeypatch.setattr(decode_probe, name, value)
    large = 4.0 * device.info.last_level  # one set of buffers is enough
    dtype, products = "float32", attention.latent_products
    setups = {
        "ragged": decode_probe._ragged((5, 9, 2), large, dtype, device),
        "prefix": decode_probe._prefix(20, large, dtype, device),
    }
    for name, make, check in (
        ("attention", partial(decode_probe._attention, 2, 2, 33, dtype), attention.check_attend),
        ("latent", partial(decode_probe._latent, 2, 33, products, dtype), decode_probe.check_latent),
        ("int8", partial(decode_probe._narrow, 2, 33, "int8", dtype), attention.check_attend),
        ("float8", partial(decode_probe._narrow, 2, 33, "float8_e4m3", dtype), attention.check_attend),
        ("append", partial(decode_probe._append, 3, dtype), decode_probe.check_append),
        ("head", partial(decode_probe._head, 3, dtype), decode_probe.check_head),
        ("argmax", partial(decode_probe._sampler, 3, "argmax"), decode_probe.check_sampling),
        ("top-p", partial(decode_probe._sampler, 3, "top-p"), decode_probe.check_sampling),
    ):
        setups[name] = ring(make, check, large, None, device)
    for name, setup in setups.items():
        setup.check()
        launch = setup.launches[-1]

        class Wrong:
            """The launch with a result that is off."""

            func, args = launch.func, launch.args
            call = staticmethod(launch)

            def __call__(self):
                found = self.call()
                if found is None:
                    self.args[2].add_(1)
                    return None
                if isinstance(found, list):
                    return [x / 2 for x in found]
                # the token after the right one, or half of the right number
                return (found + 1) % 1000 if found.dtype == torch.int64 else found / 2

        with pytest.raises(CheckFailed):
            setup.check.func(Wrong(), *setup.check.args[1:])
        assert name == "ragged" or isinstance(launch, partial)


def test_ragged_batches_hold_the_same_keys():
    assert {sum(lengths) for lengths in decode_probe.RAGGED.values()} == {32768}
    assert {len(lengths) for lengths in decode_probe.RAGGED.values()} == {8}
    ragged = [case for case in cases() if case.params["part"] == "ragged attention"]
    assert len({(case.work.flops, case.work.bytes) for case in ragged}) == 1
    longest = [max(decode_probe.RAGGED[case.params["spread"]]) for case in ragged]
    assert longest == sorted(longest)
    assert len(set(longest)) == 3


def test_intensities_are_the_fields_own():
    """2 H / (G b) for a long cache; 241.8 FLOP/B for MLA."""
    found = {}
    for case in cases(budget="soak"):
        if case.params.get("context") == 32768 and case.params["part"] == "attention":
            found[case.params["layout"], case.params["cache"]] = case.work.intensity
    assert found["mha", "bfloat16"] == pytest.approx(1, rel=1e-3)
    assert found["gqa", "bfloat16"] == pytest.approx(4, rel=1e-3)
    assert found["mqa", "bfloat16"] == pytest.approx(32, rel=1e-2)
    assert found["mla", "bfloat16"] == pytest.approx(241.8, rel=1e-2)
    assert found["gqa", "int8"] == found["gqa", "float8_e4m3"] == pytest.approx(8 / (1 + 2 / 128), rel=1e-3)


def test_work_of_the_step_s_end():
    """A worked step by hand: LM head of 8 rows; sampling reads the logits and writes a token id."""
    found = {
        (c.params["part"], c.params.get("method", "")): c.work
        for c in cases(budget="soak")
        if c.params.get("rows") == 8
    }
    head = found["LM head", ""]
    assert (head.flops, head.bytes) == (8405385216, 1054842880)
    assert found["sampling", "argmax"].bytes == 4104192 + 8 * 8


def test_a_device_without_a_narrow_dtype_says_so():
    attentions = [case for case in cases("sim:a100-sxm4-80gb") if case.params["part"] == "attention"]
    skips = {case.params["cache"]: case.skip for case in attentions if case.params["batch"] == 1}
    assert not skips["int8"]
    assert skips["float8_e4m3"] == "this device has no float8_e4m3"


def test_methods_are_named(device):
    setup = decode_probe._ragged((64, 16), 4.0 * device.info.last_level, "bfloat16", device)
    assert setup.notes["method"] == "a call for each sequence, flash"
    assert "_flash_attention_forward" in setup.notes["packed"]
    named = {case.params["part"] for case in cases() if "prefill" not in case.params["part"]}
    assert named == {"attention", "ragged attention", "KV append", "LM head", "sampling"}
