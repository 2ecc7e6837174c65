"""Models that a test can hold."""

import importlib

import pytest

from bench.measure.workloads.layers import Shape


@pytest.fixture
def toy() -> Shape:
    return Shape("toy", 1, 64, 4, 2, 16, 128)


@pytest.fixture
def small(monkeypatch, toy):
    """Weights of a model that a test can hold."""
    capacity, decode, fusion, gemm, layer, mixed, moe, quantised = (
        importlib.import_module(f"bench.measure.probes.{name}")
        for name in ("capacity", "decode", "fusion", "gemm", "layer", "mixed", "moe", "quantised")
    )
    for module, name, value in (
        (decode, "WIDTH", 64),
        (decode, "VOCABULARY", 1000),
        (gemm, "WEIGHTS", ((512, 256),)),
        (layer, "SHAPES", (toy,)),
        (mixed, "SHAPES", (toy,)),
        (moe, "SHAPES", (moe.Experts("toy", 32, 4, 128, 64),)),
        (fusion, "LAYERS", {"vector": Shape("toy", 1, 128, 4, 2, 32, 256)}),
        (quantised, "WEIGHTS", {"vector": (512, 256)}),
        (capacity, "_HOST_BYTES", 2 << 30),
    ):
        monkeypatch.setattr(module, name, value)
