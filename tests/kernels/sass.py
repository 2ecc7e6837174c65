"""Machine code of the CUDA kernels as data, compiled by NVRTC; no GPU takes part.

nvdisasm reads the instructions, cuobjdump how many registers and how much stack a function takes.
"""

import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.measure.device import nvrtc
from bench.measure.device.protocol import DeviceError

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
# Flops per clock and SM that a chip is rated at for 16-bit FMAs in pairs: float16, bfloat16 (0: has none). Sources: the
# CUDA Programming Guide's throughput of native arithmetic instructions; 8.0: 78 and 39 TFLOP/s in the A100 whitepaper;
# 9.0: 134 in the H100 whitepaper. 8.7 stands in no table of NVIDIA's, but the assembler alternates there, and others'
# microbenchmarks (Accel-sim's, extended) found 200 float16 FMAs per clock on Orin as on an A100, and 128 on 8.6.
RATES = {
    "sm_70": (256, 0),
    "sm_75": (256, 0),
    "sm_80": (512, 256),
    "sm_86": (256, 256),
    "sm_87": (512, 256),
    "sm_89": (256, 256),
    "sm_90a": (512, 512),
    "sm_100a": (256, 256),
    "sm_103a": (256, 256),
    "sm_110a": (256, 256),
    "sm_120a": (256, 256),
    "sm_121a": (256, 256),
}
# What of that the pipe of HFMA2 gives, on every chip: 64 instructions of 4 flops. The rest is HFMA2.MMA's.
ONE_PIPE = 256
REGISTERS, THREADS, UNROLL, SMS = 65536, 256, 4, 132
BYTES = 16  # of an instruction, since Volta
FMA = ("FFMA", "DFMA", "HFMA2", "HFMA2.MMA", "HFMA2.BF16_V2", "HFMA2.MMA.BF16_V2")


def _tool(name: str) -> Path | None:
    try:
        import nvidia
    except ImportError:
        return None
    return next((path for root in nvidia.__path__ if (path := Path(root) / "cu13/bin" / name).is_file()), None)


def arches() -> list[str]:
    try:
        supported = nvrtc._nvrtc().getSupportedArchs()
    except DeviceError:
        return []
    return [arch for arch in nvrtc.ARCHES.values() if int(re.sub(r"\D", "", arch)) in supported]


WHEELS = bool(arches()) and all(map(_tool, ("cuobjdump", "nvdisasm")))
needs_wheels = pytest.mark.skipif(not WHEELS, reason="needs the CuPy, NVRTC, cuobjdump and nvdisasm wheels")


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


# The disassembler takes half a second to start, for one function as for a hundred, so all that tests of an architecture
# will ask for is read together: what is still to be read, and the functions of what was read, by architecture.
_EXPECTED: dict[str, set[tuple[Path, tuple]]] = {}
_READ: dict[str, dict[tuple[Path, tuple], dict[str, Body]]] = {}


def expect(arch: str, source: Path, *variants: tuple) -> None:
    """What bodies() will be asked for: a source with each of its `variants`, which are defines."""
    _EXPECTED.setdefault(arch, set()).update((source, defines) for defines in variants)


def bodies(source: Path, arch: str, defines: tuple = ()) -> dict[str, Body]:
    """Every function of a source as the CUDA device compiles it; THREADS may be among the defines.

    Raises DeviceError where it does not compile.
    """
    wanted, read = (source, defines), _READ.setdefault(arch, {})
    if wanted not in read:
        cubins = {wanted: _compiled(arch, *wanted)}
        for other in _EXPECTED.pop(arch, set()) - set(read):
            with suppress(DeviceError):  # whoever asks for it is told
                cubins[other] = _compiled(arch, *other)
        read.update(zip(cubins, _disassembled(arch, list(cubins.values())), strict=True))
    return read[wanted]


def _compiled(arch: str, source: Path, defines: tuple) -> bytes:
    settings = {"THREADS": THREADS} | dict(defines)
    settings = {"BLOCKS": THREADS_PER_SM[arch] // settings["THREADS"], "SMS": SMS} | settings
    return nvrtc.cubin(source, arch, tuple(settings.items())).code


def _disassembled(arch: str, cubins: list[bytes]) -> list[dict[str, Body]]:
    """Every function of each cubin; addresses, those of branches too, count from the first function of the first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code"
        path.write_bytes(b"".join(code for cubin in cubins for _, code in _functions(cubin)))
        text = _said("nvdisasm", "-b", arch.replace("sm_", "SM"), path) if path.stat().st_size else ""
        usages = []
        for cubin in cubins:
            path.write_bytes(cubin)
            found = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+)", _said("cuobjdump", "-res-usage", path))
            usages.append({name: (int(registers), int(stack)) for name, registers, stack in found})
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);", text)
    read = {int(address, 16): Instruction(int(address, 16), mnemonic, words) for address, mnemonic, words in lines}
    functions, end = [], 0
    for cubin, usage in zip(cubins, usages, strict=True):
        functions.append({})
        for name, code in _functions(cubin):
            begin, end = end, end + len(code)
            functions[-1][name] = Body(tuple(read[address] for address in range(begin, end, BYTES)), *usage[name])
    return functions


def _functions(cubin: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and machine code of each function: the sections of an ELF file (64 bits) that are called .text.NAME."""
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, count, names = struct.unpack_from("<HHH", cubin, 58)
    sections = [struct.unpack_from("<I20xQQ", cubin, table + size * n) for n in range(count)]
    for name, start, length in sections:
        called = cubin[sections[names][1] + name :].split(b"\0", 1)[0].decode()
        if called.startswith(".text."):
            yield called.removeprefix(".text."), cubin[start : start + length]


def _said(tool: str, *arguments) -> str:
    return subprocess.run([_tool(tool), *arguments], check=True, capture_output=True, text=True).stdout


def of(code, *prefixes: str) -> list[Instruction]:
    return [i for i in code if i.name.startswith(prefixes)]


def claim(source: Path, words: str) -> tuple[int, ...]:
    """The numbers that a kernel's header states: what a pattern's groups match there, each white space one blank."""
    header = " ".join(source.read_text().partition("*/")[0].split())
    found = re.search(words, header)
    assert found, f"the header of {source.name} does not say {words!r}"
    return tuple(map(int, found.groups()))


def check_frame(body: Body, arch: str, threads: int = 0) -> None:
    """Nothing spills, and as many threads fit as an SM has slots for; or `threads` of them, if those are fewer."""
    assert body.stack == 0
    assert not of(body.code, "LDL", "STL"), "spills"
    granted = -(-body.registers // 8) * 8
    slots = THREADS_PER_SM[arch]
    assert granted * min(threads or slots, slots) <= REGISTERS, f"{body.registers} registers: too few threads fit"
