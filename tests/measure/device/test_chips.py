"""What a chip has agrees with the datasheets and with the cubins."""

import re
import subprocess
import sys

import pytest

from bench import theory
from bench.measure.device import chips, nvrtc
from bench.measure.device.protocol import kernel_source
from bench.schema import TensorLoop
from bench.work import ITEMSIZE
from tests.kernels.sass import THREADS, arches, bodies, needs_wheels, of

SMS = 132
CAPABILITIES = tuple(nvrtc.ARCHES)
ORDER = ["float64", "tf32", "bfloat16", "float16", "float8_e4m3", "int8"]
TCGEN05 = [(10, 0), (10, 3), (11, 0)]
PRODUCTS = ("HMMA", "IMMA", "QMMA", "DMMA", "HGMMA", "IGMMA", "QGMMA")


@pytest.mark.parametrize(
    ("capability", "tensor"),
    [
        ((7, 0), {"float16"}),
        ((7, 5), {"float16", "int8"}),
        ((8, 0), {"float64", "float16", "int8", "bfloat16", "tf32"}),
        ((8, 6), {"float16", "int8", "bfloat16", "tf32"}),
        ((8, 9), {"float16", "int8", "bfloat16", "tf32", "float8_e4m3"}),
        ((9, 0), {"float64", "float16", "int8", "bfloat16", "tf32", "float8_e4m3"}),
        ((10, 3), {"float16", "int8", "bfloat16", "tf32", "float8_e4m3", "float4"}),
    ],
)
def test_units_follow_the_compute_capability(capability, tensor):
    units = chips.units(capability)
    assert {dtype for dtype, unit in units.items() if unit == "tensor"} == tensor
    assert units["float32"] == "vector"


def test_loops_fill_every_thread_slot():
    assert chips.loops((9, 0), 132, 2048) == {
        "float64": 132 * 2048 * 8,
        "float32": 132 * 2048 * 8,
        "float16": 132 * 2048 * 16,
        "bfloat16": 132 * 2048 * 16,
        "int32": 132 * 2048 * 8,
    }
    assert "bfloat16" not in chips.loops((7, 5), 40, 1024)


def every(capability) -> list[tuple[str, TensorLoop]]:
    return [(dtype, loop) for dtype, loops in chips.tensor_loops(capability, SMS).items() for loop in loops]


def claiming(capability) -> set[str]:
    return {dtype for dtype, loop in every(capability) if loop.saturates}


def shape(loop: TensorLoop) -> tuple[int, int, int]:
    return tuple(map(int, re.search(r"m(\d+)n(\d+)k(\d+)", loop.instruction).groups()))


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_loops_fill_the_device_with_whole_instructions(capability):
    found = chips.tensor_loops(capability, SMS)
    assert list(found) == [dtype for dtype in ORDER if dtype in found]
    for dtype, loop in every(capability):
        assert loop.function == f"{loop.source}_{dtype}"
        assert loop.out == {"int8": "int32", "float64": "float64"}.get(dtype, "float32")
        m, n, k = shape(loop)
        assert (loop.m % m, loop.n % n, loop.k % k) == (0, 0, 0)
        # blocks of 256 threads: 16 warps or two warpgroups on every SM
        assert loop.tiles * loop.threads == SMS * {"mma": 2, "wgmma": 1}[loop.source] * THREADS
        assert loop.m * loop.n % loop.threads == 0


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_dtype_has_one_claim_at_most_and_it_comes_first(capability):
    for loops in chips.tensor_loops(capability, SMS).values():
        assert [loop.saturates for loop in loops] in ([True], [False], [True, False])


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_dtype_has_a_claim_or_a_reason_never_both(capability):
    reasons = chips.lacking(capability)
    assert not claiming(capability) & set(reasons)
    assert set(chips.tensor_loops(capability, SMS)) <= claiming(capability) | set(reasons) <= set(ITEMSIZE)
    assert all(reason.startswith("no loop") for reason in reasons.values())


@pytest.mark.parametrize("product", theory.products(), ids=lambda product: product.sku)
def test_every_tensor_figure_of_a_datasheet_has_a_claim_or_a_reason(product):
    figures = {key.split(".")[1] for key in product.peaks if re.fullmatch(r"tensor\.\w+", key)}
    known = claiming(product.capability) | set(chips.lacking(product.capability))
    assert figures & set(ITEMSIZE) <= known


@pytest.mark.parametrize("capability", TCGEN05)
def test_where_tcgen05_is_the_full_rate_only_float64_claims_a_roof(capability):
    assert claiming(capability) <= {"float64"}
    assert "tcgen05" in chips.lacking(capability)["bfloat16"]
    # emulated there: it would measure conversions
    assert "float8_e4m3" not in chips.tensor_loops(capability, SMS)


def test_hopper_claims_with_wgmma_and_shows_mma_sync_beside_it():
    found = chips.tensor_loops((9, 0), SMS)
    assert {dtype: [loop.source for loop in loops] for dtype, loops in found.items()} == {
        "float64": ["mma"],
        "float8_e4m3": ["wgmma"],
    } | {dtype: ["wgmma", "mma"] for dtype in ("tf32", "bfloat16", "float16", "int8")}
    assert chips.lacking((9, 0)) == {}


def test_a_gpu_without_tensor_cores_has_neither_loops_nor_reasons():
    assert chips.tensor_loops((6, 1), SMS) == chips.lacking((6, 1)) == {}


def test_only_wgmma_asks_for_shared_memory():
    loop = chips.tensor_loops((9, 0), SMS)["bfloat16"][0]
    tiles = THREADS // loop.threads
    assert loop.shared == tiles * (loop.m + loop.n) * loop.k * ITEMSIZE["bfloat16"] == 81920


def test_the_table_needs_neither_torch_nor_cupy():
    program = "import sys, bench.measure.device.chips; print(sorted({'torch', 'cupy', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@needs_wheels
@pytest.mark.parametrize("capability", [c for c, arch in nvrtc.ARCHES.items() if arch in arches()])
def test_the_cubin_multiplies_the_tiles_of_the_table(capability, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for dtype, loop in every(capability):
        body = bodies(kernel_source(loop.source, ".cu"), nvrtc.ARCHES[capability])[loop.function]
        m, n, k = shape(loop)
        # the remainder's loop is one step
        step = min(len(products) for code in body.loops() if (products := of(code, *PRODUCTS)))
        assert step * m * n * k == loop.m * loop.n * loop.k
        names = {i.name for i in of(body.code, *PRODUCTS)}
        assert all(f".{m}x{n}x{k}" in name or f".{m}{n}{k}" in name for name in names), names
        assert len(of(body.code, "STG")) * loop.threads == loop.m * loop.n
        if loop.source == "mma":
            loads = sum(8 if ".64" in i.name else 4 for i in of(body.code, "LDG"))
            assert loads * loop.threads == (loop.m + loop.n) * loop.k * ITEMSIZE[dtype]
