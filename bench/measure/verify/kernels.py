"""Every kernel of ours against its twin: fresh input, poisoned output, odd sizes, and nothing written beside it."""

import inspect
import math
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bench.measure.budget import BUDGETS
from bench.measure.device.protocol import Kernel, Unsupported, torch_dtype
from bench.measure.device.sim import Blank
from bench.measure.probes import Probe, describe, latency, peak, probes
from bench.measure.verify import Outcome, absent, failed, passed
from bench.schema import Case, DeviceInfo

# Elements on each side of an output that no kernel may touch; a whole number of any kernel's alignment.
GUARD = 1024
# Whole blocks that a body handles, where it is not any number (see the header of each).
GRAINS = {"stream": 1024, "ladder": 1024, "onchip": 8192}
STEPS, PASSES = 37, 3
POISON = -7777
# Largest relative error of a sum of products against float64, as peak's own check has it.
TILES = {"float64": 1e-12, "int8": 0.0, "tf32": 5e-3, "float8_e4m3": 3e-2}


def twins(device: Any, rounds: int) -> Outcome:
    return compared(device, loaded(device.info))


def sanitizer(device: Any, rounds: int) -> Outcome:
    for check in ("memcheck", "racecheck"):
        # a library's benign failed call is no access of a kernel's
        tool = ["compute-sanitizer", "--tool", check, "--report-api-errors", "no", "--error-exitcode", "77"]
        done = under(tool, [device.info.id], 300, f"compute-sanitizer's {check}", sound=(0, 77))
        if done.returncode == 77:
            error = re.search(r"^========= (?!.*COMPUTE-SANITIZER)(.+)", done.stdout, re.MULTILINE)
            return failed(check, error[1] if error else "errors")
    return passed("memcheck and racecheck clean")


def under(tool: list[str], words: list[str], seconds: int, what: str, sound: Collection[int] = (0,)) -> Any:
    """`python -m bench.measure.verify WORDS` under a tool, done. Raises Unsupported where it cannot run or hangs."""
    command = [*tool, sys.executable, "-m", "bench.measure.verify", *words]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Unsupported(f"{what} was not done after {seconds} s") from None
    if "ERR_NVGPUCTRPERM" in done.stdout + done.stderr:
        hint = "NVreg_RestrictProfilingToAdminUsers=0"
        raise Unsupported(f"no permission for the GPU's counters (ERR_NVGPUCTRPERM): {hint}")
    if done.returncode not in sound:
        raise Unsupported(f"{what} could not run: {(done.stderr or done.stdout).strip().splitlines()[-1][:200]}")
    return done


def compared(device: Any, kernels: list[Kernel]) -> Outcome:
    """Every launch of these kernels against its twin."""
    launches, unknown, refused = 0, [], []
    for kernel in kernels:
        settings = ", ".join(f"{name}={value}" for name, value in kernel.defines)
        name = f"{kernel.name}.{kernel.function}" + (f" ({settings})" if settings else "")
        try:
            run = device.load(kernel)
            for call in _calls(device, kernel):
                launches += 1
                if wrong := call.wrong(device, kernel, run):
                    return failed(f"{name} at {call.size}", f"{name} {wrong}")
        except Unsupported as error:
            refused.append(f"{name}: {error}")
        except _Unknown:
            unknown.append(name)
    text = f"{len(kernels) - len(unknown) - len(refused)} kernels, {launches} launches, none differs"
    if unknown:
        text += f"; not tried: {', '.join(sorted(set(unknown)))}"
    return passed(text) if launches else absent("; ".join(refused) or "no kernel is loaded here", text)


def loaded(info: DeviceInfo) -> list[Kernel]:
    """The kernels that all probes load on such a device, found by preparing a case of each kind up to its kernel."""
    asked = _Asked(replace(info, simulated=True))
    # the other probes only call libraries
    loading = [probe for probe in probes().values() if "Kernel" in vars(sys.modules[probe.cases.__module__])]
    for _, case in planned(info, loading):
        asked.known = False
        with suppress(Unsupported):
            case.prepare(asked)
    return asked.kernels


class _Asked(Blank):
    """Ends a preparation at the first buffer after the kernel; small ones before it are the host's.

    On tensors without memory torch loads its compiler before it computes anything, which takes seconds.
    """

    known = False

    def load(self, kernel: Kernel) -> Callable[..., None]:
        self.known = True
        return super().load(kernel)

    def empty(self, *shape: int, dtype: str) -> Any:
        import torch

        if self.known or math.prod(shape) > 1 << 17:
            raise Unsupported("only the kernel is asked for")
        return torch.empty(shape, dtype=torch_dtype(dtype))

    random = empty


def planned(info: DeviceInfo, probes: Iterable[Probe]) -> Iterator[tuple[str, Case]]:
    """What probes would run on such a device, with its name: of cases that differ in sizes only, the smallest one."""
    for probe in probes:
        least: dict[tuple, tuple[str, Case]] = {}
        for case in describe(info, probe, BUDGETS["standard"]):
            texts = {name: value for name, value in case.params.items() if value and isinstance(value, str)}
            key = (*texts.items(), *case.params, case.cache, case.work.channel, case.saturates == "")
            if not case.skip and (key not in least or case.work.bytes < least[key][1].work.bytes):
                least[key] = " ".join([probe.name, *texts.values()]), case
        yield from least.values()


class _Unknown(Exception):
    """A kernel whose twin takes something that this file knows no value for."""


@dataclass(frozen=True)
class _Call:
    """Arguments of a launch by the names of its twin's, which of them is the result, and how far it may be off.

    whole: the result with its guards. relative: the tolerance is of the result's norm, not of each element.
    """

    size: str
    arguments: dict[str, Any]
    output: str
    whole: Any
    tolerance: float = 0.0
    relative: bool = False

    def wrong(self, device: Any, kernel: Kernel, run: Any) -> str:
        """What is wrong with the result of run(*arguments), or ""."""
        import torch

        result = self.arguments[self.output]
        inputs = {name: value for name, value in self.arguments.items() if isinstance(value, torch.Tensor)}
        inputs.pop(self.output)
        kept = {name: tensor.clone() for name, tensor in inputs.items()}
        # the twin works in float64, and goes over its arrays once
        wide = {name: tensor.double() for name, tensor in inputs.items() if tensor.is_floating_point()}
        twin = result.to(torch.float64 if result.is_floating_point() else result.dtype, copy=True)
        once = {"passes": 1} if self.output == "y" and "passes" in self.arguments else {}
        kernel.twin(**self.arguments | wide | once | {self.output: twin})
        run(*self.arguments.values())
        device.synchronize()
        if any(not torch.equal(inputs[name].view(torch.uint8), kept[name].view(torch.uint8)) for name in kept):
            return f"changes its input at {self.size}"
        if self.whole is not None and not bool((_poison(self.whole[:GUARD]) & _poison(self.whole[-GUARD:])).all()):
            return f"writes beside its output at {self.size}"
        if not result.is_floating_point():
            count = int((result != twin).sum())
            return f"differs from its twin in {count} of {result.numel()} elements at {self.size}" if count else ""
        error = (result.double() - twin).abs()
        if unwritten := int(error.isnan().sum()):
            return f"leaves {unwritten} of {result.numel()} elements unwritten at {self.size}"
        scale = max(float(torch.linalg.norm(twin)), 1e-300)
        worst = float(torch.linalg.norm(error)) / scale if self.relative else float(error.max())
        allowed = worst <= self.tolerance
        return "" if allowed else f"is off by {worst:.2g} at {self.size} (allowed {self.tolerance:.2g})"


def _poison(part: Any) -> Any:
    """Which elements are as `_guarded` left them."""
    return part.isnan() if part.is_floating_point() else part == POISON


def _guarded(device: Any, n: int, dtype: str) -> tuple[Any, Any]:
    """(poison with a guard on each side, the n elements between them)."""
    whole = device.empty(n + 2 * GUARD, dtype=dtype)
    whole.fill_(float("nan") if whole.is_floating_point() else POISON)
    return whole, whole[GUARD:-GUARD]


def _calls(device: Any, kernel: Kernel) -> Iterator[_Call]:
    names = list(inspect.signature(kernel.twin).parameters)
    if names == ["n"]:  # an empty kernel has nothing to compare
        return
    if names[:2] == ["lines", "at"]:
        for lines, hops in ((1, 1), (37, 33), (1000, 997)):
            yield _chase(device, lines, hops)
    elif names == ["a", "b", "c", "n", "steps"]:
        yield from _tiles(device, kernel)
    elif set(names) <= {"x", "z", "y", "out", "n", "passes", "steps", "a", "b", "value"}:
        for n in _sizes(device, kernel):
            yield _elementwise(device, kernel, names, n)
    else:
        raise _Unknown


def _sizes(device: Any, kernel: Kernel) -> list[int]:
    """The smallest, one block more than a tile, and one that is no power of two and leaves threads without work."""
    # only a GPU's FMA loop works in vectors of 16 bytes, the host's takes any number of elements
    grain = GRAINS.get(kernel.name, 8 if device.info.sms else 1)
    tile = max(kernel.per_thread * kernel.threads, grain)
    return sorted({grain, -(-tile // grain) * grain + grain, grain * (3 * max(tile // grain, 1) + 7)})


def _elementwise(device: Any, kernel: Kernel, names: list[str], n: int) -> _Call:
    import torch

    dtype = next((d for d in (*peak.FACTOR, "int32") if kernel.function.endswith(f"_{d}")), "float32")
    real, sums = dtype != "int32", "out" in names
    factor, offset = (peak.FACTOR[dtype], peak.OFFSET) if real else (peak.INTEGER_FACTOR, peak.INTEGER_OFFSET)
    values = {"n": n, "passes": PASSES, "steps": STEPS, "b": offset, "value": offset}
    values["a"] = 0.75 if kernel.name == "stream" else factor
    for name in {"x", "z"} & set(names):
        # new numbers for each array: two that are alike would hide a kernel that reads one for the other
        array = device.empty(n, dtype=dtype)
        values[name] = array.uniform_(-1, 1) if real else array.random_(-(2**31), 2**31 - 1)
        if sums:
            array.abs_()  # in a sum of both signs a lost block could hide
    if sums:
        values["out"] = device.empty(1, dtype="float64").fill_(3.0)
        return _Call(f"n={n}", {name: values[name] for name in names}, "out", None, 1e-5, relative=True)
    whole, values["y"] = _guarded(device, n, dtype)
    roundings = (STEPS + 1 if "steps" in names else 2) * (16 if "value" in names else 1.5)
    tolerance = roundings * torch.finfo(values["y"].dtype).eps if real else 0.0
    return _Call(f"n={n}", {name: values[name] for name in names}, "y", whole, tolerance)


def _tiles(device: Any, kernel: Kernel) -> Iterator[_Call]:
    loops = [(dtype, loop) for dtype, loops in device.info.tensor_loops.items() for loop in loops]
    dtype, loop = next(each for each in loops if (each[1].source, each[1].function) == (kernel.name, kernel.function))
    block = max(1, kernel.threads // loop.threads)
    for tiles in (block, 3 * block, loop.tiles + block):
        a = device.random(tiles, loop.m, loop.k, dtype=dtype)
        b = device.random(tiles, loop.n, loop.k, dtype=dtype)
        n = tiles * loop.m * loop.n
        whole, inside = _guarded(device, n, loop.out)
        arguments = {"a": a, "b": b, "c": inside.view(tiles, loop.m, loop.n), "n": n, "steps": 8}
        yield _Call(f"{tiles} tiles", arguments, "c", whole, TILES.get(dtype, 1e-3), relative=True)


def _chase(device: Any, count: int, hops: int) -> _Call:
    """Along a random cycle over so many lines."""
    lines = device.empty(count * latency.LINE // 8, dtype="int64").fill_(POISON)
    whole, at = _guarded(device, 1, "int64")
    at.copy_(latency.cycle(lines)[:1])
    return _Call(f"{hops} hops over {count} lines", {"lines": lines, "at": at, "n": 1, "hops": hops}, "at", whole)
