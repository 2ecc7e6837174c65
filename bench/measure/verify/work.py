"""Whether the declared work is done: by the chip's counters where they may be read, else by the machine code itself."""

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

from bench.measure.device import cc
from bench.measure.device.protocol import kernel_source
from bench.measure.verify.assumption import NO_COMPILER, NO_GPU, Outcome, absent, assumption, compiled, failed, passed
from bench.measure.verify.pairs import MIB, chains, stream

# Bytes and instructions that were counted, over those that were declared.
TRAFFIC, INSTRUCTIONS = (0.97, 1.10), (0.99, 1.6)
# ncu's names: bytes that DRAM moved, and float32 multiply-adds.
READ, WRITTEN = "dram__bytes_read.sum", "dram__bytes_write.sum"
FFMA = "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum"


@assumption(
    expected=f"{TRAFFIC[0]:g} to {TRAFFIC[1]:g} of what is declared",
    fix="a formula of work.py or a kernel is wrong, or something else uses this GPU's memory",
    timed=False,
    seconds=60.0,
    deep=True,
)
def traffic(device: Any, rounds: int) -> Outcome:
    """The bytes and multiply-adds that a case declares are those that the GPU's counters see, by ncu."""
    if not device.info.sms:
        return absent(NO_GPU)
    tool = which("ncu")
    if not tool:
        return absent("ncu is not on the PATH (it comes with Nsight Compute)")
    command = [
        *(
            tool,
            "--clock-control",
            "none",
            "--cache-control",
            "none",
            "--csv",
            "--page",
            "raw",
            "--print-units",
            "base",
        ),
        *("--metrics", f"{READ},{WRITTEN},{FFMA}"),
        *(sys.executable, "-m", "bench.measure.verify", device.info.id, "--counted"),
    ]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        return absent("ncu was not done after 240 s")
    if "ERR_NVGPUCTRPERM" in done.stdout + done.stderr:
        return absent("no permission for the GPU's counters (ERR_NVGPUCTRPERM): NVreg_RestrictProfilingToAdminUsers=0")
    if done.returncode:
        return absent(f"ncu could not run: {(done.stderr or done.stdout).strip().splitlines()[-1][:200]}")
    declared = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"declared"')))["declared"]
    return counted(done.stdout, declared)


def counted(table: str, declared: Mapping[str, Mapping[str, float]]) -> Outcome:
    """ncu's table (--page raw --csv) against kernel -> what it declares; the last launch of each kernel counts."""
    import csv

    lines = [line for line in table.splitlines() if line.startswith('"')]
    rows = {row["Kernel Name"].partition("(")[0]: row for row in csv.DictReader(lines) if row.get("ID")}
    told, wrong = [], []
    for kernel, amounts in declared.items():
        if kernel not in rows:
            return absent(f"ncu saw no launch of {kernel}")
        for name, metrics in (("bytes", (READ, WRITTEN)), ("fmas", (FFMA,))):
            if amounts.get(name):
                seen = sum(float(rows[kernel][metric].replace(",", "")) for metric in metrics)
                ratio = seen / amounts[name]
                told.append(f"{kernel} {name} {ratio:.3f}")
                if not TRAFFIC[0] <= ratio <= TRAFFIC[1]:
                    wrong.append(f"{kernel}: {ratio:.3f} of its {name} were counted")
    return failed(", ".join(told), "; ".join(wrong)) if wrong else passed(", ".join(told))


def launched(device: Any) -> dict[str, dict[str, float]]:
    """Runs what ncu is to count, and returns kernel -> what it declares: a copy, a read and an FMA loop."""
    declared = {}
    for mix in ("copy", "read"):
        # cold and larger than L2 by far, or what it still holds would be missing
        case = stream(device, mix, 8 * max(device.info.last_level, 32 * MIB), "cold", ring=2)
        for launch in case.launches:
            launch()
        declared[mix] = {"bytes": case.case.work.bytes}
    loop = chains(device, 1 << 12)
    loop.launches[0]()
    declared["fma_float32"] = {"fmas": loop.case.work.flops / 2}
    device.synchronize()
    return declared


@assumption(
    expected=f"{INSTRUCTIONS[0]:g} to {INSTRUCTIONS[1]:g} an FMA",
    fix="the compiler removed or added work: see work.machine_code, and try another compiler",
    timed=False,
    seconds=0.3,
)
def instructions(device: Any, rounds: int) -> Outcome:
    """The FMA loop retires as many instructions as its work takes, by the CPU's own counter (perf events)."""
    if device.info.sms:
        return absent("on a GPU by ncu: see work.traffic")
    if not compiled(device):
        return absent(NO_COMPILER)
    try:
        counter = _Counter()
    except OSError as error:
        return absent(_refusal(error))
    with counter:
        lanes, threads = cc.integer("fma", "fma_vector_float32"), cc.integer("fma", "threads")
        steps = 1 << 16
        loop = chains(device, steps)
        loop.launches[0]()
        before = counter.read()
        loop.launches[0]()
        seen = counter.read() - before
    # the counter follows this thread, which has its share of the vectors
    declared = device.info.loops["float32"] / lanes / threads * steps
    ratio = seen / declared
    if INSTRUCTIONS[0] <= ratio <= INSTRUCTIONS[1]:
        return passed(f"{ratio:.3f} an FMA")
    return failed(f"{ratio:.3f} an FMA", f"{seen:.4g} instructions were counted where {declared:.4g} FMAs are declared")


class _Counter:
    """Instructions of this thread in user mode, from perf_event_open(2). Raises OSError where the kernel refuses."""

    _NUMBERS = {"x86_64": 298, "aarch64": 241}

    def __init__(self) -> None:
        import errno
        import platform

        number = self._NUMBERS.get(platform.machine())
        if number is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        # perf_event_attr, version 0: type, size, config (retired instructions), ..., flags at byte 40
        attributes = (ctypes.c_uint64 * 8)()
        attributes[0] = 0 | 64 << 32
        attributes[1] = 1
        attributes[5] = 1 << 5 | 1 << 6  # without the kernel and the hypervisor
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.syscall(ctypes.c_long(number), ctypes.byref(attributes), 0, -1, -1, 0)
        if self._file < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def read(self) -> int:
        return int.from_bytes(os.read(self._file, 8), sys.byteorder)

    def __enter__(self) -> "_Counter":
        return self

    def __exit__(self, *_: Any) -> None:
        os.close(self._file)


def _refusal(error: OSError) -> str:
    import errno

    if error.errno in (errno.EACCES, errno.EPERM):
        try:
            level = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
        except OSError:
            level = "unknown"
        return f"no permission for counters (perf_event_paranoid={level}); see work.machine_code"
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return "this CPU shows no counter of instructions (a virtual machine?); see work.machine_code"
    return f"perf events: {error.strerror}; see work.machine_code"


@dataclass(frozen=True)
class Loop:
    """An innermost loop of machine code: its instructions, as mnemonic and operands."""

    code: tuple[tuple[str, str], ...]

    def count(self, pattern: str) -> int:
        return sum(1 for name, operands in self.code if re.search(pattern, f"{name} {operands}"))


@assumption(
    expected="as the work declares",
    fix="the compiler changed the loop: try another one (cc, gcc and clang are looked for in this order)",
    timed=False,
    seconds=0.5,
)
def machine_code(device: Any, rounds: int) -> Outcome:
    """The compiled loops hold the instructions that the work declares: nothing is folded, hoisted or removed."""
    if device.info.sms:
        return sass(device.info.facts["arch"], device.info.sms)
    if not compiled(device):
        return absent(NO_COMPILER)
    if not which("objdump"):
        return absent("objdump is not on the PATH (it comes with binutils)")
    if os.uname().machine != "x86_64":
        return absent(f"this reads x86-64 code, and here it is {os.uname().machine}")
    return compared(
        disassembled("fma"),
        disassembled("stream"),
        cc.integer("fma", "fma_lanes_float32") // cc.integer("fma", "fma_vector_float32"),
    )


def compared(fma: Mapping[str, Sequence[Loop]], streams: Mapping[str, Sequence[Loop]], width: int) -> Outcome:
    """The FMA loops against `width` independent chains a step, and the copy against a store for each load."""
    told, wrong = [], []
    for dtype, suffix in (("float32", "ps"), ("float64", "pd")):
        loops = [loop for name, found in fma.items() if f"fma_{dtype}" in name for loop in found]
        counts = sorted({loop.count(rf"vfmadd\w*{suffix}") for loop in loops} - {0})
        told.append(f"fma_{dtype} {max(counts, default=0)} FMAs a step")
        if not counts or counts[-1] % width:
            wrong.append(f"fma_{dtype} has no loop of {width} FMAs, but of {counts or 'none'}")
        busiest = max(loops, key=lambda loop: loop.count("vfmadd"), default=Loop(()))
        memory = busiest.count(r"vfmadd.*\(") + busiest.count(r"^v?mov\w* .*\(")
        if memory:
            wrong.append(f"fma_{dtype} leaves its registers {memory} times a step")
    copies = [loop for name, found in streams.items() if name.startswith("copy.") or name == "copy" for loop in found]
    stored = [
        (loop.count(r"^v?movnt\w* %[xyz]mm"), loop.count(r"^v?movu?a?p[sd] .*\(.*\),%[xyz]mm")) for loop in copies
    ]
    moving = [(stores, loads) for stores, loads in stored if stores]
    told.append(f"copy {moving[0][1]} loads, {moving[0][0]} stores" if moving else "copy without streaming stores")
    if not moving or any(stores != loads for stores, loads in moving):
        wrong.append(f"copy has (streaming stores, loads) {stored or 'no loop'}")
    return failed(", ".join(told), "; ".join(wrong)) if wrong else passed(", ".join(told))


def disassembled(name: str, library: Path | None = None) -> dict[str, list[Loop]]:
    """Function -> innermost loops of a host kernel's library, by objdump."""
    library = library or cc.build(kernel_source(name, ".c"))
    done = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], check=True, capture_output=True, text=True, errors="replace"
    )
    found = {}
    for head, body in re.findall(r"^[0-9a-f]+ <([^>]+)>:\n((?:.+\n)*)", done.stdout, re.MULTILINE):
        code = [
            (int(address, 16), mnemonic, operands)
            for address, mnemonic, operands in re.findall(r"^\s*([0-9a-f]+):\s+(\S+)[ \t]*(.*)$", body, re.MULTILINE)
        ]
        found[head] = list(_loops(code))
    return found


def _loops(code: Sequence[tuple[int, str, str]]) -> Iterator[Loop]:
    """What lies between a backward jump and its target and holds no other such jump."""
    spans = []
    for address, mnemonic, operands in code:
        target = re.match(r"([0-9a-f]+) <", operands) if mnemonic.startswith("j") else None
        if target and code[0][0] <= int(target[1], 16) < address:
            spans.append((int(target[1], 16), address))
    for first, last in spans:
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans):
            yield Loop(tuple((name, operands) for address, name, operands in code if first <= address <= last))


def sass(arch: str, sms: int) -> Outcome:
    """The FMA loops and the copy as NVRTC compiles them for an architecture, read from their machine code."""
    tool = _nvdisasm()
    if not tool:
        return absent("nvdisasm is not here (pip install nvidia-cuda-nvdisasm, or the CUDA toolkit)")
    from bench.measure.device import nvrtc

    told, wrong = [], []
    shape = (("THREADS", 256), ("BLOCKS", 8), ("SMS", sms))
    for name, function, pattern, least in (
        # 8 chains of 16 steps a trip, as fma.cu says
        ("fma", "fma_float32", "FFMA", 128),
        ("fma", "fma_float64", "DFMA", 128),
        ("stream", "copy", "LDG", 1),
    ):
        code = nvrtc.cubin(kernel_source(name, ".cu"), arch, shape, ()).code
        busiest = max(_sass(tool, code, function), key=lambda loop: loop.count(f"^{pattern}"), default=Loop(()))
        count, moves = busiest.count(f"^{pattern}"), (busiest.count("^LDG"), busiest.count("^STG"))
        told.append(f"{function} {count} {pattern}")
        if count < least:
            wrong.append(f"{function} has {count} {pattern} in its busiest loop, not {least}")
        elif moves[0] != moves[1] or (name == "fma" and any(moves)):
            wrong.append(f"{function} has {moves[0]} loads and {moves[1]} stores in its busiest loop")
    return failed(", ".join(told), "; ".join(wrong)) if wrong else passed(", ".join(told))


@cache
def _nvdisasm() -> str:
    found = which("nvdisasm")
    if found:
        return found
    try:
        import nvidia
    except ImportError:
        return ""
    return next((str(p) for root in nvidia.__path__ if (p := Path(root) / "cu13/bin/nvdisasm").is_file()), "")


def _sass(tool: str, cubin: bytes, function: str) -> list[Loop]:
    """Innermost loops of one function of a cubin; nvdisasm names the targets of branches by labels."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([tool, "-c", file.name], check=True, capture_output=True, text=True)
    part = done.stdout.partition(f".text.{function}:")[2].partition("\n.text.")[0]
    labels, code = {}, []
    for line in part.splitlines():
        if label := re.match(r"^(\.L\w+):", line.strip()):
            labels[label[1]] = len(code)
        elif found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);", line):
            code.append((len(code), found[1], found[2]))
    spans = []
    for index, mnemonic, operands in code:
        target = re.search(r"`\((\.L\w+)\)", operands) if mnemonic.startswith("BRA") else None
        if target and labels.get(target[1], index) < index:
            spans.append((labels[target[1]], index))
    return [
        Loop(tuple((name, operands) for index, name, operands in code if first <= index <= last))
        for first, last in spans
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans)
    ]
