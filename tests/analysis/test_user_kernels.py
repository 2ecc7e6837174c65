"""A user's own kernels: read strictly, placed under measured roofs, and flagged where they beat them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.fit import fit
from bench.analysis.user_kernels import PointsError, UserKernel, parse, place, read
from bench.roofline import Roof, Roofline
from bench.work import Work

HEADER = "name,flops,bytes,seconds,unit,dtype\n"
MACHINE = Roofline("m", (Roof("dram", 1e12), Roof("tensor.bfloat16.library", 100e12)), overhead=1e-6)


def test_a_kernel_reads_as_it_is_written():
    (one, two) = parse(HEADER + '"gemm, mine",1.5e12,2e9,0.002,tensor,bfloat16\ncopy,0,4e9,1e-3,,\n', "mine.csv")
    assert one == UserKernel("gemm, mine", Work(1.5e12, "tensor", "bfloat16", bytes=2e9), 0.002)
    assert two == UserKernel("copy", Work(bytes=4e9), 1e-3)


def test_columns_may_come_in_any_order_with_a_channel_and_a_variant():
    text = "Dtype, unit, seconds, bytes, flops, name, channel, variant\nfloat8_e4m3,tensor,1,1,1,k,l2,fast_accum\n"
    (kernel,) = parse(text, "x")
    assert (kernel.work.channel, kernel.work.compute) == ("l2", "tensor.float8_e4m3.fast_accum")


def test_the_share_and_the_limit_are_the_rooflines():
    # 1e12 flops at 100 TFLOP/s take 10 ms, 1e9 bytes 1 ms: compute binds; it took 20 ms
    placed = place(MACHINE, UserKernel("k", Work(1e12, "tensor", "bfloat16", bytes=1e9), 0.02))
    assert placed.share == pytest.approx((0.01 + 1e-6) / 0.02)
    assert placed.limit == "tensor.bfloat16.library"
    assert not placed.above
    memory = place(MACHINE, UserKernel("k", Work(1e9, "tensor", "bfloat16", bytes=1e10), 0.01))
    assert (memory.limit, memory.share) == ("dram", pytest.approx(1, rel=1e-3))
    assert place(MACHINE, UserKernel("k", Work(bytes=1.0), 1e-6)).limit == "overhead"


def test_a_kernel_above_its_roof_is_flagged_and_not_clipped():
    placed = place(MACHINE, UserKernel("k", Work(1e12, "tensor", "bfloat16", bytes=1e9), 0.005))
    assert placed.above
    assert placed.share == pytest.approx(2, rel=1e-3)


def test_a_roof_that_is_missing_is_named():
    placed = place(MACHINE, UserKernel("k", Work(1e12, "vector", "float64", bytes=1e9, channel="l2"), 1.0))
    assert (placed.share, placed.limit, placed.lacking) == (None, "", ("vector.float64", "l2"))


def test_a_device_of_a_run_is_placed_under(h200):
    fitted = fit(h200)[0]
    exact = fitted.roofline.seconds(work := Work(1e13, "tensor", "bfloat16", bytes=1e9))
    assert place(fitted, UserKernel("k", work, exact)).share == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; its first line must be name,flops"),
        ("name,flops\n", "no column bytes, seconds, unit, dtype"),
        (HEADER, "names no kernel"),
        (HEADER.replace("dtype", "dtype,colour") + "k,1,1,1,vector,float32,red\n", "unknown column 'colour'"),
        (HEADER.replace("dtype", "dtype,dtype"), "stands twice"),
        (HEADER + "k,1,1,1,vector\n", "line 2: 5 cells under 6 columns"),
        (HEADER + "k,1,1,1,vector,float32\nl,one,1,1,vector,float32\n", "line 3: flops 'one' is not a number"),
        (HEADER + "k,nan,1,1,vector,float32\n", "flops must be a number of 0 or more"),
        (HEADER + "k,1,-1,1,vector,float32\n", "bytes must be a number of 0 or more"),
        (HEADER + "k,1,1,0,vector,float32\n", "seconds must be more than 0"),
        (HEADER + "k,0,0,1,vector,float32\n", "neither flops nor bytes"),
        (HEADER + "k,1,1,1,,float32\n", "unit '' must be vector or tensor"),
        (HEADER + "k,1,1,1,cuda,float32\n", "unit 'cuda' must be"),
        (HEADER + "k,1,1,1,vector,half\n", "unknown dtype 'half'"),
        (HEADER + ",1,1,1,vector,float32\n", "needs a name"),
        ("\0\1", "binary"),
        (HEADER + "k,1,1,1,vector,float32\n" * 2001, "a figure takes 2000"),
    ],
)
def test_what_is_wrong_is_one_clear_line(text, message):
    with pytest.raises(PointsError, match=message) as caught:
        parse(text, "mine.csv")
    assert str(caught.value).startswith("mine.csv")
    assert "\n" not in str(caught.value)


def test_a_missing_or_foreign_file_says_so(tmp_path):
    with pytest.raises(PointsError, match="no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(PointsError, match="cannot read"):
        read(tmp_path)
    (tmp_path / "latin.csv").write_bytes(b"name,\xe9\n")
    with pytest.raises(PointsError, match="not UTF-8"):
        read(tmp_path / "latin.csv")


def test_a_byte_order_mark_is_no_part_of_the_name(tmp_path):
    (tmp_path / "excel.csv").write_text("\ufeff" + HEADER + "k,1,1,1,vector,float32\n", encoding="utf-8")
    assert read(tmp_path / "excel.csv")[0].name == "k"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    with suppress(PointsError):
        parse(HEADER + text, "x")
    with suppress(PointsError):
        parse(text, "x")
