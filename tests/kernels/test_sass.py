"""The instructions that the GPU gets: as wide, as many and as free of surprises as the kernels' headers claim.

Compiled by NVRTC and read with cuobjdump, both from pip; no GPU takes part, so this says what runs and never how fast.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from bench.device import DeviceError, nvrtc
from bench.device.sources import kernel_source

# Threads that an SM holds (CUDA Programming Guide, compute capabilities).
THREADS_PER_SM = {
    "sm_70": 2048,
    "sm_75": 1024,
    "sm_80": 2048,
    "sm_86": 1536,
    "sm_87": 1536,
    "sm_89": 1536,
    "sm_90a": 2048,
    "sm_100a": 2048,
    "sm_103a": 2048,
    "sm_110a": 1536,
    "sm_120a": 1536,
    "sm_121a": 1536,
}
REGISTERS, THREADS, UNROLL = 65536, 256, 4
FMA = ("FFMA", "DFMA", "HFMA2", "HFMA2.MMA", "HFMA2.BF16_V2", "HFMA2.MMA.BF16_V2")


def cuobjdump() -> Path | None:
    try:
        import nvidia
    except ImportError:
        return None
    return next((path for root in nvidia.__path__ if (path := Path(root) / "cu13/bin/cuobjdump").is_file()), None)


def arches() -> list[str]:
    try:
        supported = nvrtc._nvrtc().getSupportedArchs()
    except DeviceError:
        return []
    return [arch for arch in nvrtc.ARCHES.values() if int(re.sub(r"\D", "", arch)) in supported]


WHEELS = bool(arches()) and cuobjdump() is not None
pytestmark = pytest.mark.skipif(not WHEELS, reason="needs the CuPy, NVRTC and cuobjdump wheels")


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str
    text: str

    @property
    def is_fma(self) -> bool:
        # a multiply of zeros by zeros is how the assembler moves a constant
        return self.name in FMA and "RZ, RZ" not in self.text


@dataclass(frozen=True)
class Body:
    """One function's machine code, with the registers and the stack that it takes."""

    code: tuple[Instruction, ...]
    registers: int
    stack: int

    def loops(self) -> Iterator[tuple[Instruction, ...]]:
        """Innermost loops: what lies between a backward branch and its target and holds no other such branch."""
        spans = []
        for instruction in self.code:
            if instruction.name.startswith("BRA"):
                target = int(re.findall(r"0x([0-9a-f]+)", instruction.text)[-1], 16)
                if target < instruction.address:
                    spans.append((target, instruction.address))
        for first, last in spans:
            if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans):
                yield tuple(i for i in self.code if first <= i.address <= last)


@cache
def bodies(source: Path, arch: str, defines: tuple = ()) -> dict[str, Body]:
    shape = (("THREADS", THREADS), ("BLOCKS", THREADS_PER_SM[arch] // THREADS), ("SMS", 132))
    code = nvrtc.cubin(source, arch, shape + defines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cubin"
        path.write_bytes(code)
        resources, sass = dump("-res-usage", path), dump("-sass", path)
    usage = {
        name: (int(registers), int(stack))
        for name, registers, stack in re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+)", resources)
    }
    found = {}
    for part in sass.split("Function : ")[1:]:
        name = part.split()[0]
        lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);", part)
        code = tuple(Instruction(int(address, 16), mnemonic, rest) for address, mnemonic, rest in lines)
        found[name] = Body(code, *usage[name])
    return found


def dump(option: str, path: Path) -> str:
    return subprocess.run([cuobjdump(), option, path], check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True, scope="module")
def fresh_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def of(code, *prefixes: str) -> list[Instruction]:
    return [i for i in code if i.name.startswith(prefixes)]


def check_frame(body: Body, arch: str) -> None:
    """Nothing spills, and as many threads fit as an SM has slots for."""
    assert body.stack == 0
    assert not of(body.code, "LDL", "STL")
    granted = -(-body.registers // 8) * 8
    assert granted * THREADS * (THREADS_PER_SM[arch] // THREADS) <= REGISTERS


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
