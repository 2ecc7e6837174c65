"""Whether the declared work is done: by the chip's counters where they may be read, else by the machine code itself."""

import csv
import ctypes
import errno
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from bench.measure.device import cc, nvrtc
from bench.measure.device.protocol import kernel_source
from bench.measure.verify import Outcome, absent, failed, passed, unless
from bench.measure.verify.kernels import under
from bench.measure.verify.launches import MIB, chains, stream

# ncu's names: bytes that DRAM moved, and float32 multiply-adds.
READ, WRITTEN = "dram__bytes_read.sum", "dram__bytes_write.sum"
FFMA = "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum"
# The number of perf_event_open(2) by machine.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}


def traffic(device: Any, rounds: int, least: float, most: float) -> Outcome:
    options = "--clock-control none --cache-control none --csv --page raw --print-units base --metrics"
    tool = ["ncu", *options.split(), f"{READ},{WRITTEN},{FFMA}"]
    table = under(tool, [device.info.id, "--counted"], 240, "ncu").stdout
    declared = json.loads(next(line for line in table.splitlines() if line.startswith('{"declared"')))["declared"]
    return counted(table, declared, least, most)


def counted(table: str, declared: Mapping[str, Mapping[str, float]], least: float, most: float) -> Outcome:
    """ncu's table (--page raw --csv) against kernel -> what it declares; the last launch of each kernel counts."""
    lines = [line for line in table.splitlines() if line.startswith('"')]
    rows = {row["Kernel Name"].partition("(")[0]: row for row in csv.DictReader(lines) if row.get("ID")}
    told, wrong = [], []
    for kernel, amounts in declared.items():
        if kernel not in rows:
            return absent(f"ncu saw no launch of {kernel}")
        for name, metrics in (("bytes", (READ, WRITTEN)), ("fmas", (FFMA,))):
            if amounts.get(name):
                ratio = sum(float(rows[kernel][metric].replace(",", "")) for metric in metrics) / amounts[name]
                told.append(f"{kernel} {name} {ratio:.3f}")
                if not least <= ratio <= most:
                    wrong.append(f"{kernel}: {ratio:.3f} of its {name} were counted")
    return unless(wrong, ", ".join(told))


def launched(device: Any) -> dict[str, dict[str, float]]:
    """Runs what ncu is to count, and returns kernel -> what it declares: a copy, a read and an FMA loop."""
    # cold and larger than L2 by far, or what it still holds would be missing
    footprint = 8 * max(device.info.last_level, 32 * MIB)
    moves = {mix: stream(device, mix, footprint, "cold", ring=2) for mix in ("copy", "read")}
    loop = chains(device, 1 << 12)
    for each in (*moves.values(), loop):
        for launch in each.launches:
            launch()
    device.synchronize()
    declared = {mix: {"bytes": each.work.bytes} for mix, each in moves.items()}
    return declared | {"fma_float32": {"fmas": loop.work.flops / 2}}


def instructions(device: Any, rounds: int, least: float, most: float) -> Outcome:
    lanes, threads, steps = cc.integer("fma", "fma_vector_float32"), cc.integer("fma", "threads"), 1 << 16
    try:
        with retired() as count:
            (launch,) = chains(device, steps).launches
            launch()
            before = count()
            launch()
            seen = count() - before
    except OSError as error:
        return absent(_refusal(error))
    # the counter follows this thread, which has its share of the vectors
    declared = device.info.loops["float32"] / lanes / threads * steps
    text = f"{seen / declared:.3f} an FMA"
    if least <= seen / declared <= most:
        return passed(text)
    return failed(text, f"{seen:.4g} instructions were counted where {declared:.4g} FMAs are declared")


@contextmanager
def retired() -> Iterator[Callable[[], int]]:
    """A counter of this thread's instructions in user mode, by perf_event_open(2). Raises OSError where refused."""
    number = _PERF_EVENT_OPEN.get(platform.machine(), -1)  # which no kernel has
    # perf_event_attr, version 0: type, size, config (retired instructions), ..., flags at byte 40
    attributes = (ctypes.c_uint64 * 8)(0 | 64 << 32, 1)
    attributes[5] = 1 << 5 | 1 << 6  # without the kernel and the hypervisor
    libc = ctypes.CDLL(None, use_errno=True)
    file = libc.syscall(ctypes.c_long(number), ctypes.byref(attributes), 0, -1, -1, 0)
    if file < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield lambda: int.from_bytes(os.read(file, 8), sys.byteorder)
    finally:
        os.close(file)


def _refusal(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        paranoid = Path("/proc/sys/kernel/perf_event_paranoid")
        level = paranoid.read_text().strip() if paranoid.exists() else "unknown"
        reason = f"no permission for counters (perf_event_paranoid={level})"
    elif error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        reason = "this CPU shows no counter of instructions (a virtual machine?)"
    else:
        reason = f"perf events: {error.strerror}"
    return f"{reason}; see work.machine_code"


def _count(loop: list[str], pattern: str) -> int:
    """Instructions of a loop of machine code that match, each with its operands."""
    return sum(1 for instruction in loop if re.search(pattern, instruction))


def machine_code(device: Any, rounds: int) -> Outcome:
    if device.info.sms:
        return sass(device.info.facts["arch"], device.info.sms)
    if not which("objdump"):
        return absent("objdump is not on the PATH (it comes with binutils)")
    if os.uname().machine != "x86_64":
        return absent(f"this reads x86-64 code, and here it is {os.uname().machine}")
    width = cc.integer("fma", "fma_lanes_float32") // cc.integer("fma", "fma_vector_float32")
    return compared(disassembled("fma"), disassembled("stream"), width)


def compared(fma: Mapping[str, list[list[str]]], streams: Mapping[str, list[list[str]]], width: int) -> Outcome:
    """The FMA loops against `width` independent chains a step, and the copy against a store for each load."""
    told, wrong = [], []
    for dtype, suffix in (("float32", "ps"), ("float64", "pd")):
        loops = [loop for name, found in fma.items() if f"fma_{dtype}" in name for loop in found]
        counts = sorted({_count(loop, rf"vfmadd\w*{suffix}") for loop in loops} - {0})
        told.append(f"fma_{dtype} {max(counts, default=0)} FMAs a step")
        if not counts or counts[-1] % width:
            wrong.append(f"fma_{dtype} has no loop of {width} FMAs, but of {counts or 'none'}")
        busiest = max(loops, key=lambda loop: _count(loop, "vfmadd"), default=())
        if memory := _count(busiest, r"vfmadd.*\(") + _count(busiest, r"^v?mov\w* .*\("):
            wrong.append(f"fma_{dtype} leaves its registers {memory} times a step")
    copies = [loop for name, found in streams.items() if name.startswith("copy.") or name == "copy" for loop in found]
    store, load = r"^v?movnt\w* %[xyz]mm", r"^v?movu?a?p[sd] .*\(.*\),%[xyz]mm"
    moves = [(_count(loop, store), _count(loop, load)) for loop in copies]
    stored = [(stores, loads) for stores, loads in moves if stores]
    told.append(f"copy {stored[0][1]} loads, {stored[0][0]} stores" if stored else "copy without streaming stores")
    if not stored or any(stores != loads for stores, loads in stored):
        wrong.append(f"copy has (streaming stores, loads) {moves or 'no loop'}")
    return unless(wrong, ", ".join(told))


def sass(arch: str, sms: int) -> Outcome:
    """The FMA loops and the copy as NVRTC compiles them for an architecture, read from their machine code."""
    tool = _nvdisasm()
    if not tool:
        return absent("nvdisasm is not here (pip install nvidia-cuda-nvdisasm, or the CUDA toolkit)")
    told, wrong = [], []
    shape = (("THREADS", 256), ("BLOCKS", 8), ("SMS", sms))
    for name, function, opcode, least in (
        # 8 chains of 16 steps a trip, as fma.cu says
        ("fma", "fma_float32", "FFMA", 128),
        ("fma", "fma_float64", "DFMA", 128),
        ("stream", "copy", "LDG", 1),
    ):
        code = nvrtc.cubin(kernel_source(name, ".cu"), arch, shape, ()).code
        busiest = max(_sass_loops(tool, code, function), key=lambda loop: _count(loop, f"^{opcode}"), default=())
        count, loads, stores = (_count(busiest, f"^{each}") for each in (opcode, "LDG", "STG"))
        told.append(f"{function} {count} {opcode}")
        if count < least:
            wrong.append(f"{function} has {count} {opcode} in its busiest loop, not {least}")
        elif loads != stores or (name == "fma" and loads):
            wrong.append(f"{function} has {loads} loads and {stores} stores in its busiest loop")
    return unless(wrong, ", ".join(told))


def _nvdisasm() -> str:
    package = find_spec("nvidia")
    folders = package.submodule_search_locations if package else []
    wheels = [tool for folder in folders if (tool := Path(folder) / "cu13/bin/nvdisasm").is_file()]
    return which("nvdisasm") or (str(wheels[0]) if wheels else "")


def disassembled(name: str, library: Path | None = None) -> dict[str, list[list[str]]]:
    """Function -> innermost loops of a host kernel's library, by objdump."""
    text = _said("objdump", "-d", "--no-show-raw-insn", str(library or cc.build(kernel_source(name, ".c"))))
    functions = {}
    for head, body in re.findall(r"^[0-9a-f]+ <([^>]+)>:\n((?:.+\n)*)", text, re.MULTILINE):
        lines = re.findall(r"^\s*([0-9a-f]+):\s+(\S+)[ \t]*(.*)$", body, re.MULTILINE)
        code = {int(address, 16): f"{mnemonic} {operands}" for address, mnemonic, operands in lines}
        jumps = {at: re.match(r"j\S* ([0-9a-f]+) <", instruction) for at, instruction in code.items()}
        functions[head] = _innermost(code, {at: int(jump[1], 16) for at, jump in jumps.items() if jump})
    return functions


def _sass_loops(tool: str, cubin: bytes, function: str) -> list[list[str]]:
    """Innermost loops of one function of a cubin; nvdisasm names the targets of branches by labels."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = _said(tool, "-c", file.name)
    labels, code, jumps = {}, {}, {}
    for line in text.partition(f".text.{function}:")[2].partition("\n.text.")[0].splitlines():
        if label := re.match(r"^(\.L\w+):", line.strip()):
            labels[label[1]] = len(code)
        elif instruction := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);", line):
            if branch := re.match(r"BRA.*?`\((\.L\w+)\)", "".join(instruction.groups())):
                jumps[len(code)] = branch[1]
            code[len(code)] = " ".join(instruction.groups())
    return _innermost(code, {at: labels[label] for at, label in jumps.items() if label in labels})


def _innermost(code: Mapping[int, str], jumps: Mapping[int, int]) -> list[list[str]]:
    """What lies between a backward jump (from -> to) and its target and holds no other such jump."""
    spans = [(first, last) for last, first in jumps.items() if min(code) <= first < last]
    return [
        [instruction for at, instruction in code.items() if first <= at <= last]
        for first, last in spans
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans)
    ]


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout
