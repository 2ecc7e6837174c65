"""Which attention ran is read back, and what torch refuses is a skip in its words."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.protocol import Unsupported
from bench.measure.probes import describe, probes
from bench.measure.probes.decode import _attention, _cold, _latent, _narrow, _prefix, _ragged
from bench.measure.probes.fusion import _attention as _fused
from bench.measure.probes.fusion import _peak, _token
from bench.measure.timing import measure
from bench.measure.workloads import layers, ring
from bench.measure.workloads.attention import backend_note, check_attend, latent_fused, ran
from bench.measure.workloads.layers import Shape, Span
from bench.schema import Case
from bench.work import Work

HUGE = Work(bytes=1e9)  # one set of buffers is a ring
TOY = Shape("toy", 1, 64, 4, 2, 16, 128)


@pytest.fixture(scope="module")
def device():
    return cpu.open_cpu(seed=6)


def by(backend, *tensors, **more):
    with sdpa_kernel(backend):
        return sdpa(*tensors, **more)


@pytest.mark.parametrize("causal", [True, False])
def test_the_backend_is_the_one_that_ran(causal):
    q = torch.randn(1, 4, 8, 16)
    assert ran(partial(sdpa, q, q, q, is_causal=causal)) == "flash"
    for backend, name in ((SDPBackend.FLASH_ATTENTION, "flash"), (SDPBackend.MATH, "math")):
        assert ran(partial(by, backend, q, q, q, is_causal=causal)) == name
    with torch.inference_mode():
        assert ran(partial(by, SDPBackend.MATH, q, q, q)).startswith("unknown")


def test_it_is_read_back_even_where_torchs_forecast_is_wrong(monkeypatch, device):
    """torch._fused_sdp_choice is private: it may be absent, and a forecast is not what ran."""

    def absent(*_, **__):
        raise AttributeError("module 'torch' has no attribute '_fused_sdp_choice'")

    monkeypatch.setattr(torch, "_fused_sdp_choice", absent)
    found = attention_case(device)
    assert found.usable
    assert found.notes["backend"] == "flash"
    for setup in (
        layers.setup(TOY, [Span(2, 1, 16), Span(1, 4, 4)], "bfloat16", device),
        layers.part_setup(TOY, Span(2, 1, 16), "decode attention", 1e9, "bfloat16", device),
    ):
        assert set(setup.notes.values()) == {"flash"}


@pytest.mark.parametrize(
    ("operator", "more", "name"),
    [
        ("_scaled_dot_product_cudnn_attention", (None, False), "cudnn"),
        ("_scaled_dot_product_flash_attention", (), "flash"),
        ("_scaled_dot_product_efficient_attention", (None, False), "efficient"),
        ("_scaled_dot_product_fused_attention_overrideable", (), "overrideable"),
    ],
)
def test_a_gpus_operators_are_known(operator, more, name):
    """What SDPA dispatches on a GPU, dispatched here on tensors without memory."""
    q = torch.empty(1, 4, 8, 16, dtype=torch.bfloat16, device="meta")
    assert ran(partial(getattr(torch.ops.aten, operator), q, q, q, *more)) == name


def test_a_launch_without_attention_is_unknown():
    assert ran(partial(torch.neg, torch.ones(2))).startswith("unknown")


def attention_case(device):
    info = replace(device.info, attention=())
    case = next(c for c in describe(info, probes()["attention"], BUDGETS["quick"]) if c.params["backend"] == "default")
    return measure(device, "attention", 3, case, replace(BUDGETS["quick"], case=0.001))


@pytest.fixture
def refusing(monkeypatch):
    """A torch whose attention refuses, with the reason as a warning, as cuDNN's does on an odd shape."""
    import warnings

    def refuse(*_, **__):
        warnings.warn("cuDNN attention kernel not used because: head_dim should be a multiple of 8", stacklevel=1)
        raise RuntimeError("No available kernel. Aborting execution.")

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", refuse)


REFUSED = "SDPA refuses: cuDNN attention kernel not used because: head_dim should be a multiple of 8"


def test_a_default_that_refuses_is_a_skip_with_torchs_words(refusing, device):
    found = attention_case(device)
    assert (found.skip, found.validity, found.reasons) == (REFUSED, "valid", ())


PREPARED = {
    "layer": partial(layers.setup, TOY, [Span(2, 1, 16)], "bfloat16"),
    "part": partial(layers.part_setup, TOY, Span(2, 1, 16), "decode attention", 1e9, "bfloat16"),
    "decode": _cold(partial(_attention, 1, 8, 16, "bfloat16"), check_attend, HUGE, "SDPA"),
    "latent": _cold(partial(_latent, 1, 16, latent_fused, "bfloat16"), check_attend, HUGE, "SDPA"),
    "narrow": _cold(partial(_narrow, 1, 16, "int8", "bfloat16"), check_attend, HUGE, "SDPA"),
    "ragged": partial(_ragged, (3, 5), 1e9, "bfloat16"),
    "fused": partial(ring, partial(_fused, "fused", 2, 16, "bfloat16"), check_attend, 1e9, partial(_peak, 0.0)),
    "cached": partial(ring, partial(_token, TOY, "cached", 16, "bfloat16"), check_attend, 1e9, backend_note),
}


@pytest.mark.parametrize("name", PREPARED)
def test_so_it_is_wherever_attention_is_prepared(refusing, device, monkeypatch, name):
    monkeypatch.setattr(cpu.CpuDevice, "rotation", lambda self, size, cache: 1)
    found = measure(device, "p", 1, Case(params={}, work=Work(bytes=1.0), prepare=PREPARED[name]), BUDGETS["quick"])
    assert found.skip == REFUSED


@pytest.mark.parametrize("name", [*PREPARED, "prefix"])
def test_where_torch_does_not_refuse_each_names_what_ran(device, monkeypatch, name):
    monkeypatch.setattr(cpu.CpuDevice, "rotation", lambda self, size, cache: 1)
    monkeypatch.setattr("bench.measure.probes.decode.NEW", 16)
    prepare = PREPARED.get(name, partial(_prefix, 16, 1e9, "bfloat16"))
    notes = prepare(device).notes
    assert any(word in ("flash", "math") for note in notes.values() for word in note.split(", ")), notes


def test_a_broken_device_is_no_refusal():
    def broken():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(torch.AcceleratorError):
        ran(broken)


def test_the_plan_is_made_before_anything_is_timed(device, monkeypatch):
    """The first call of a shape is made by prepare: a library that plans for 0.4 s does so there."""
    calls = []
    real = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(a[0].shape) or real(*a, **k)
    )
    info = replace(device.info, attention=())
    case = next(c for c in describe(info, probes()["attention"], BUDGETS["quick"]) if c.params["backend"] == "default")
    setup = case.prepare(device)
    assert calls == [setup.launches[0].args[0].shape]


def test_the_unsupported_backend_keeps_its_name(device):
    q = torch.randn(1, 4, 8, 16)
    with pytest.raises(Unsupported, match="SDPA's cudnn backend refuses"):
        ran(partial(by, SDPBackend.CUDNN_ATTENTION, q, q, q), "cudnn")
