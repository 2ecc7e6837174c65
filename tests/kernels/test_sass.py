"""The instructions that the GPU gets: as wide, as many and as free of surprises as the kernels' headers claim.

This says what runs and never how fast.
"""

import re

import pytest

from bench.device.sources import kernel_source
from tests.kernels.sass import UNROLL, Body, arches, bodies, check_frame, needs_wheels, of

pytestmark = needs_wheels


def check_sweep(body: Body, loads: int, stores: int, bypass: bool = True) -> None:
    """The busiest loop moves 16 bytes at a time, all loads in flight before the first is used or anything stored."""
    for access in of(body.code, "LDG", "STG"):
        assert ".128" in access.name, f"{access.name} is narrower than 16 bytes"
    loop = max(body.loops(), key=lambda code: len(of(code, "LDG", "STG")))
    assert (len(of(loop, "LDG")), len(of(loop, "STG"))) == (loads, stores)
    order = [i.name[:3] for i in of(loop, "LDG", "STG", "FADD", "FMUL", "FFMA")]
    assert order[:loads] == ["LDG"] * loads
    if bypass:
        for access in of(loop, "LDG"):
            assert "STRONG.GPU" in access.name, f"{access.name} may be served by L1"


def check_chains(body: Body, full: int, rest: int) -> None:
    """Loops of `full` FMAs beside a counter, and of `rest` for a remainder; nothing on the uniform datapath."""
    loops = [loop for loop in body.loops() if any(i.is_fma for i in loop)]
    assert {sum(i.is_fma for i in loop) for loop in loops} == {full, rest}
    for loop in loops:
        others = [i for i in loop if not i.is_fma and i.name != "NOP"]
        assert len(others) <= 10, [i.name for i in others]
        assert not of(loop, "LDG", "STG", "LDS", "MUFU")
    assert not [i for i in body.code if re.match(r"U(F|D|H)", i.name)]


SWEEPS = {
    "read": (UNROLL, 0),
    "write": (0, UNROLL),
    "copy": (UNROLL, UNROLL),
    "scale": (UNROLL, UNROLL),
    "add": (UNROLL, UNROLL // 2),
    "triad": (UNROLL, UNROLL // 2),
}


@pytest.mark.parametrize("arch", arches())
@pytest.mark.parametrize("mix", SWEEPS)
def test_streams_move_16_bytes_and_unroll(arch, mix):
    body = bodies(kernel_source("stream", ".cu"), arch)[mix]
    check_frame(body, arch)
    check_sweep(body, *SWEEPS[mix])


@pytest.mark.parametrize("arch", arches())
def test_a_define_sets_the_unrolling_and_the_cache_hint(arch):
    copy = bodies(kernel_source("stream", ".cu"), arch, (("UNROLL", 2), ("HINT", ".cs")))["copy"]
    check_sweep(copy, 2, 2, bypass=False)
    assert all(".EF" in access.name for access in of(copy.code, "LDG"))


@pytest.mark.parametrize("arch", arches())
def test_fma_loops_hold_128_fmas(arch):
    found = bodies(kernel_source("fma", ".cu"), arch)
    expected = {"fma_float64", "fma_float32", "fma_float16"}
    if arch not in ("sm_70", "sm_75"):
        expected.add("fma_bfloat16")
    assert set(found) == expected
    for name, body in found.items():
        check_frame(body, arch)
        check_chains(body, full=128, rest=8)
        kind = {"fma_float64": "DFMA", "fma_float32": "FFMA"}.get(name, "HFMA2")
        assert all(i.name.startswith(kind) for loop in body.loops() for i in loop if i.is_fma)
    if "fma_bfloat16" in found:
        assert any("BF16_V2" in i.name for i in found["fma_bfloat16"].code)


@pytest.mark.parametrize("arch", arches())
def test_the_ladder_loads_16_floats_then_climbs(arch):
    body = bodies(kernel_source("ladder", ".cu"), arch)["ladder"]
    check_frame(body, arch)
    accesses = of(body.code, "LDG", "STG")
    assert all(".128" in access.name for access in accesses)
    # 16 floats of a full tile or 4 of a vector at the end, times 8 steps or 1
    counts = {sum(i.is_fma for i in loop) for loop in body.loops()} - {0}
    assert {128, 16} <= counts <= {128, 16, 32, 4}
    runs = re.findall(r"L+", "".join(i.name[0] for i in body.code if i.is_fma or i in accesses))
    assert {len(run) for run in runs} == {4, 1}


@pytest.mark.parametrize("arch", arches())
def test_the_stamp_reads_both_clocks_and_its_sm(arch):
    code = bodies(kernel_source("clock", ".cu"), arch)["stamp"].code
    text = " ".join(i.text for i in code)
    for register in ("SR_VIRTUALSMID", "SR_CLOCK", "GLOBALTIMER"):
        assert register in text
    assert len(of(code, "STG.E.64")) == 2


MUTATIONS = {
    # the assembler narrows a load of which one word is used, volatile asm or not
    "narrowed": (", sum.y += v[u].y, sum.z += v[u].z, sum.w += v[u].w;", ";", "narrower"),
    "cached in L1": ("#define HINT .cg", "#define HINT", "L1"),
    "half the loads": ("#define UNROLL 4", "#define UNROLL 2", "2"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("arch", [a for a in arches() if a in ("sm_80", "sm_90a")])
def test_a_broken_stream_is_noticed(arch, mutation, tmp_path):
    old, new, complaint = MUTATIONS[mutation]
    text = kernel_source("stream", ".cu").read_text()
    assert old in text
    broken = tmp_path / "stream.cu"
    broken.write_text(text.replace(old, new))
    with pytest.raises(AssertionError, match=complaint):
        check_sweep(bodies(broken, arch)["read"], *SWEEPS["read"])


@pytest.mark.parametrize("arch", [a for a in arches() if a in ("sm_80", "sm_90a")])
def test_a_chain_that_is_not_stored_is_noticed(arch, tmp_path):
    text = kernel_source("fma", ".cu").read_text()
    store = "if (i + u * THREADS < vectors) y[i + u * THREADS] = packed[u];"
    assert store in text
    broken = tmp_path / "fma.cu"
    broken.write_text(text.replace(store, ";"))
    with pytest.raises(AssertionError):
        check_chains(bodies(broken, arch)["fma_float32"], full=128, rest=8)
