"""Products of narrow types: what a GPU computes is compared with what these functions take the operands for."""

from functools import partial

import pytest
import torch

from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed
from bench.measure.device.sim import Blank, open_simulated
from bench.measure.workloads import attempted, matmul


def place(row: int, column: int, columns: int) -> int:
    """Where cuBLAS looks for the scale of (row, column): tiles of 128 rows by 4 columns, 512 bytes each.

    Documented there element by element: offset in a tile = (row % 32) * 16 + (row // 32) * 4 + column.
    """
    tile = (row // 128) * (columns // 4) + column // 4
    return tile * 512 + (row % 128 % 32) * 16 + (row % 128) // 32 * 4 + column % 4


@pytest.mark.parametrize(("rows", "k"), [(128, 64), (256, 128), (64, 64)])
def test_float4_is_unpacked_with_the_scale_of_its_block(rows, k):
    generator = torch.Generator().manual_seed(rows)
    codes = torch.randint(0, 16, (rows, k), generator=generator)
    packed = (codes[:, 0::2] | codes[:, 1::2] << 4).to(torch.uint8).view(torch.float4_e2m1fn_x2)
    columns = k // 16
    padded = -(-columns // 4) * 4
    scales = torch.rand(-(-rows // 128) * 128 * padded, generator=generator).to(torch.float8_e4m3fn)
    values = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    expected = torch.empty(rows, k, dtype=torch.float64)
    for row in range(rows):
        for column in range(k):
            code = int(codes[row, column])
            sign = -1 if code & 8 else 1
            expected[row, column] = sign * values[code & 7] * float(scales[place(row, column // 16, padded)])
    assert torch.equal(matmul._unpacked(packed, scales), expected)


def test_scales_are_positive_and_cover_whole_tiles():
    device = cpu.open_cpu(seed=3)
    scales = matmul._scales(device, 200, 96)
    assert scales.numel() == 256 * 8
    assert float(scales.float().min()) >= 0
    assert torch.isfinite(scales.float()).all()


def test_a_wrong_float4_product_is_noticed():
    """The check itself, with the product computed from the unpacked operands, right and wrong by one scale."""
    rows, n, k = 128, 128, 64
    generator = torch.Generator().manual_seed(0)

    def packed(count):
        return torch.randint(0, 256, (count, k // 2), dtype=torch.uint8, generator=generator).view(
            torch.float4_e2m1fn_x2
        )

    a, b = packed(rows), packed(n).transpose(0, 1)
    scale_a, scale_b = (torch.rand(512, generator=generator).to(torch.float8_e4m3fn) for _ in range(2))
    c = torch.empty(rows, n, dtype=torch.bfloat16)

    def product(a, b, c, scale_a, scale_b, spoil=0):
        wide = matmul._unpacked(a, scale_a) @ matmul._unpacked(b.T, scale_b).T
        c.copy_(wide * (1 + spoil))

    matmul.check(partial(product, a, b, c, scale_a=scale_a, scale_b=scale_b), a, b, c, "float4")
    with pytest.raises(CheckFailed, match="float4 product differs"):
        matmul.check(partial(product, a, b, c, scale_a=scale_a, scale_b=scale_b, spoil=0.05), a, b, c, "float4")


def test_a_float4_work_counts_half_bytes_and_its_scales():
    demand = matmul.work_of(128, 256, 512, "float4", "tensor")
    assert demand.flops == 2 * 128 * 256 * 512
    assert demand.bytes == (128 + 256) * 512 / 2 + 128 * 256 * 2 + (128 + 256) * 512 / 16


def test_every_dtype_of_a_blackwell_is_prepared():
    info = open_simulated("sim:b200")[0].info
    blank = Blank(info)
    for dtype in info.units:
        a, b, c = matmul.operands(blank, 256, 128, 512, dtype)
        assert c.shape == (256, 128)
        assert isinstance(matmul.launch(blank, a, b, c, dtype), partial)


def test_a_broken_device_is_no_refusal_of_a_library():
    """Or a GPU that fails in a product would read as one whose library lacks it."""

    def broken():
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(torch.AcceleratorError):
        attempted(broken)
