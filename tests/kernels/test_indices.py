"""Which elements the CUDA bodies touch: every one of n once, none behind, whatever the grid; run on the host."""

import pytest
import torch

from bench.measure.device.protocol import kernel_source
from tests.kernels import twins
from tests.kernels.emulated import Emulated, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

THREADS, GUARD, OFFSET = 32, 64, 5.0
# (function, dtype that holds its elements, elements of a vector); the 16-bit ones are wrapping integers here.
FMA = [("fma_float64", torch.float64, 2), ("fma_float32", torch.float32, 4), ("fma_int32", torch.int32, 4)]
FMA += [("fma_float16", torch.int16, 8), ("fma_bfloat16", torch.int16, 8)]
LADDER = [
    ("ladder_float64", torch.float64, 2),
    ("ladder_float32", torch.float32, 4),
    ("ladder_float16", torch.int16, 8),
]
# Vectors of a tile: fma's chains fill 2 per thread (float64: 4), a ladder's 4.
TILES = {"fma_float64": 4 * THREADS} | dict.fromkeys([name for name, *_ in FMA[1:]], 2 * THREADS)
TILES |= dict.fromkeys([name for name, *_ in LADDER], 4 * THREADS)


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """A source's emulation, compiled once."""
    found = {}

    def emulated(source):
        if source not in found:
            found[source] = Emulated(source, tmp_path_factory.mktemp("emulated"), THREADS)
        return found[source]

    return emulated


def values(n: int, dtype: torch.dtype) -> torch.Tensor:
    """Small whole numbers, whose chains of some steps are exact in float32."""
    return torch.randint(-8, 9, (n,)).to(dtype)


def factor(dtype: torch.dtype) -> float:
    """-2 keeps 20 steps within 24 bits; integers, which wrap, keep every bit with an odd one."""
    return -2.0 if dtype.is_floating_point else -3.0


def chain(x: torch.Tensor, steps: int) -> torch.Tensor:
    kind = float if x.is_floating_point() else int
    for _ in range(steps):
        x = x * kind(factor(x.dtype)) + kind(OFFSET)
    return x


def sizes(tile: int) -> tuple[int, ...]:
    """Vectors: one, a few, one short of a tile, whole ones, one more, and a rest of several threads."""
    return (1, 3, tile - 1, tile, tile + 1, 3 * tile, 3 * tile + THREADS + 5)


def covers(emulated: Emulated, function: str, dtype: torch.dtype, lanes: int, steps: int) -> bool:
    """Whether y is right in all of n and untouched behind it, at odd sizes and on grids smaller than the tiles."""
    for vectors in sizes(TILES[function]):
        n = max(8, vectors * lanes)
        x = values(n, dtype)
        expected = torch.full((n + GUARD,), 77, dtype=dtype)
        expected[:n] = chain(x, steps)
        for grid in (1, 2, 5):
            y = torch.full((n + GUARD,), 77, dtype=dtype)
            emulated.launch(function, grid, x, y, n, steps, factor(dtype), OFFSET)
            if not torch.equal(y, expected):
                return False
    return True


@pytest.mark.parametrize("steps", [0, 1, 19])
@pytest.mark.parametrize(("function", "dtype", "lanes"), FMA)
def test_fma_covers_every_element_once(body, function, dtype, lanes, steps):
    assert covers(body(kernel_source("fma", ".cu")), function, dtype, lanes, steps)


@pytest.mark.parametrize("fmas", [0, 1, 11])
@pytest.mark.parametrize(("function", "dtype", "lanes"), LADDER)
def test_a_ladder_covers_every_element_once(body, function, dtype, lanes, fmas):
    assert covers(body(kernel_source("ladder", ".cu")), function, dtype, lanes, fmas)


@pytest.mark.parametrize("threads", [1, 32, 256])
@pytest.mark.parametrize("grid", [1, 3, 8])
@pytest.mark.parametrize("n", [4, 8, 1024, 1028, 4100])
def test_the_witness_covers_every_element_once(body, n, grid, threads):
    emulated, x, z = body(kernel_source("witness", ".cu")), torch.randn(n), torch.randn(n)
    for function, inputs, numbers in (
        ("witness_copy", (x,), ()),
        ("witness_triad", (x, z), (1.5,)),
        ("witness_fma", (x,), (7, -0.75, 0.5)),
    ):
        y, expected = torch.full((n + GUARD,), torch.nan), torch.full((n + GUARD,), torch.nan)
        emulated.launch(function, grid, *inputs, y, n, *numbers, threads=threads)
        getattr(twins, function)(*inputs, expected, n, *numbers)
        torch.testing.assert_close(y, expected, equal_nan=True, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("grid", [1, 3, 8])
@pytest.mark.parametrize("n", [4, 8, 1024, 1028, 4100])
def test_the_witness_reads_every_element_once(body, n, grid):
    # blocks of one thread: the threads of this emulation cannot wait for each other
    x, out = values(n, torch.float32), torch.tensor([5.0, torch.nan], dtype=torch.float64)
    body(kernel_source("witness", ".cu")).launch("witness_read", grid, x, out, n, threads=1)
    assert out[0].item() == 5 + x.long().sum().item()
    assert out[1].isnan()


# Source, change.
MISTAKES = {
    "the last tile left out": ("fma", "(vectors + TILE - 1) / TILE", "vectors / TILE"),
    "a store behind the end": ("fma", "if (i + u * THREADS < vectors) y[", "if (i + u * THREADS <= vectors) y["),
    "the rest of the steps": ("fma", "rest = steps % STEPS", "rest = 0"),
    "halves that differ": ("fma", "bits = __shfl_sync(~0u, bits, 0);", "bits = __shfl_sync(~0u, bits & 0xffff, 0);"),
    "a ladder's rest left out": ("ladder", "rest = vectors % TILE", "rest = 0"),
    "a ladder behind the end": ("ladder", "threadIdx.x < rest)", "threadIdx.x <= rest)"),
    "a ladder's rest by one block": (
        "ladder",
        "at = blockIdx.x; at < VECTORS; at += gridDim.x",
        "at = 0; at < 1; ++at",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_index_is_noticed(mistake, tmp_path):
    name, old, new = MISTAKES[mistake]
    text = kernel_source(name, ".cu").read_text()
    assert text.count(old) == 1
    broken = tmp_path / f"{name}.cu"
    broken.write_text(text.replace(old, new))
    assert not covers(Emulated(broken, tmp_path, THREADS), f"{name}_float16", torch.int16, 8, 11)
