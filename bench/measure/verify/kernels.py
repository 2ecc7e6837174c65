"""Every kernel of ours against its twin: fresh input, poisoned output, odd sizes, and nothing written beside it."""

import inspect
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from shutil import which
from typing import Any

from bench.measure.budget import BUDGETS
from bench.measure.device.protocol import Kernel, Unsupported, torch_dtype
from bench.measure.device.sim import Blank
from bench.measure.probes import Probe, describe, latency, peak, probes
from bench.measure.verify.assumption import NO_COMPILER, NO_GPU, Outcome, absent, assumption, compiled, failed, passed
from bench.schema import Case, DeviceInfo

# Elements on each side of an output that no kernel may touch; a whole number of any kernel's alignment.
GUARD = 1024
# Whole blocks that a body handles, where it is not any number (see the header of each).
GRAINS = {"stream": 1024, "ladder": 1024, "onchip": 8192}
STEPS, PASSES, LINE = 37, 3, latency.LINE
POISON = -7777
# Largest relative error of a sum of products against float64, as peak's own check has it.
TILES = {"float64": 1e-12, "int8": 0.0, "tf32": 5e-3, "float8_e4m3": 3e-2}


@assumption(
    expected="none, within rounding",
    fix="the numbers of that kernel are worthless here: report compiler or driver, and the kernel that is named",
    timed=False,
    seconds=1.0,
    brief=True,
)
def twins(device: Any, rounds: int) -> Outcome:
    """Every kernel that a probe loads computes what its torch twin does, at the smallest size, one block more than a
    tile, and a size that is no power of two.
    """
    if not compiled(device):
        return absent(NO_COMPILER)
    return compared(device, loaded(device.info))


@assumption(
    expected="no error",
    fix="a kernel reads or writes where it must not: do not publish numbers of it",
    timed=False,
    seconds=120.0,
    deep=True,
)
def sanitizer(device: Any, rounds: int) -> Outcome:
    """No kernel touches memory that is not its own, and no two threads race for shared memory, by compute-sanitizer."""
    if not device.info.sms:
        return absent(NO_GPU)
    tool = which("compute-sanitizer")
    if not tool:
        return absent("compute-sanitizer is not on the PATH (it comes with the CUDA toolkit)")
    for check in ("memcheck", "racecheck"):
        command = [
            tool,
            "--tool",
            check,
            # a library's benign failed call is no access of a kernel's
            *("--report-api-errors", "no", "--error-exitcode", "77"),
            sys.executable,
            "-m",
            "bench.measure.verify",
            device.info.id,
        ]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            return absent(f"compute-sanitizer's {check} was not done after 300 s")
        if done.returncode == 77:
            errors = [line for line in done.stdout.splitlines() if line.startswith("========= ") and len(line) > 10]
            return failed(check, next((line[10:] for line in errors if "COMPUTE-SANITIZER" not in line), "errors"))
        if done.returncode:
            return absent(f"{check} could not run: {(done.stderr or done.stdout).strip().splitlines()[-1][:200]}")
    return passed("memcheck and racecheck clean")


def compared(device: Any, kernels: list[Kernel]) -> Outcome:
    """Every launch of these kernels against its twin."""
    launches, unknown, refused = 0, [], []
    for kernel in kernels:
        try:
            run = device.load(kernel)
            for call in _calls(device, kernel):
                launches += 1
                if wrong := call.wrong(device, run):
                    return failed(f"{_name(kernel)} at {call.size}", f"{_name(kernel)} {wrong}")
        except Unsupported as error:
            refused.append(f"{_name(kernel)}: {error}")
        except _Unknown:
            unknown.append(_name(kernel))
    text = f"{len(kernels) - len(unknown) - len(refused)} kernels, {launches} launches, none differs"
    if unknown:
        text += f"; not tried: {', '.join(sorted(set(unknown)))}"
    return passed(text) if launches else absent("; ".join(refused) or "no kernel is loaded here", text)


def loaded(info: DeviceInfo) -> list[Kernel]:
    """The kernels that all probes load on such a device, found by preparing a case of each kind up to its kernel."""
    asked = _Asked(replace(info, simulated=True))
    for probe in probes().values():
        if "Kernel" in vars(sys.modules[probe.cases.__module__]):  # the others only call libraries
            for case in planned(info, probe):
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


def planned(info: DeviceInfo, probe: Probe) -> list[Case]:
    """What a probe would run on such a device: of cases that differ in sizes only, the one that moves least."""
    least: dict[tuple, Case] = {}
    for case in describe(info, probe, BUDGETS["standard"]):
        words = tuple(item for item in case.params.items() if isinstance(item[1], str))
        settings = tuple(name for name in case.params if name not in dict(words))
        key = (words, settings, case.cache, case.work.channel, case.saturates == "")
        if not case.skip and (key not in least or case.work.bytes < least[key].work.bytes):
            least[key] = case
    return list(least.values())


class _Unknown(Exception):
    """A kernel whose twin takes something that this file knows no value for."""


@dataclass(frozen=True)
class _Call:
    """Arguments of one launch, those of its twin in float64, and where the result is compared."""

    size: str
    arguments: tuple
    twins: tuple
    output: int
    whole: Any
    tolerance: float
    relative: bool

    def wrong(self, device: Any, run: Any) -> str:
        """What is wrong with the result of run(*arguments), or ""."""
        import torch

        kept = [
            t.clone() if i != self.output and isinstance(t, torch.Tensor) else None
            for i, t in enumerate(self.arguments)
        ]
        run(*self.arguments)
        device.synchronize()
        for before, after in zip(kept, self.arguments, strict=True):
            if before is not None and not torch.equal(before.view(torch.uint8), after.view(torch.uint8)):
                return f"changes its input at {self.size}"
        found, twin = self.arguments[self.output], self.twins[self.output]
        if self.whole is not None and not _untouched(self.whole):
            return f"writes beside its output at {self.size}"
        if not found.is_floating_point():
            different = int((found != twin).sum())
            return (
                f"differs from its twin in {different} of {found.numel()} elements at {self.size}" if different else ""
            )
        error = (found.double() - twin.double()).abs()
        if bool(torch.isnan(error).any()):
            return f"leaves {int(torch.isnan(error).sum())} of {found.numel()} elements unwritten at {self.size}"
        scale = float(torch.linalg.norm(twin.double())) if self.relative else 1.0
        worst = float(torch.linalg.norm(error)) / max(scale, 1e-300) if self.relative else float(error.max())
        return (
            f"is off by {worst:.2g} at {self.size} (allowed {self.tolerance:.2g})"
            if not worst <= self.tolerance
            else ""
        )


def _calls(device: Any, kernel: Kernel) -> Iterator[_Call]:
    names = list(inspect.signature(kernel.twin).parameters)
    if names == ["n"]:  # an empty kernel has nothing to compare
        return
    if names[:2] == ["lines", "at"]:
        for lines, hops in ((1, 1), (37, 33), (1000, 997)):
            yield _chase(device, kernel, lines, hops)
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

    dtype = _dtype(kernel)
    real = dtype not in ("int32", "int8")
    factor, offset = (peak.FACTOR[dtype], peak.OFFSET) if real else (peak.INTEGER_FACTOR, peak.INTEGER_OFFSET)
    if kernel.name == "stream":
        factor = 0.75
    values = {"n": n, "passes": PASSES, "steps": STEPS, "a": factor, "b": offset, "value": offset}
    whole, arguments, twin, output = None, [], [], 0
    for name in names:
        if name in ("x", "z"):
            tensor = _fresh(device, n, dtype)
            if "out" in names:
                tensor.abs_()  # in a sum of both signs a lost block could hide
            arguments.append(tensor)
            twin.append(tensor.double() if real else tensor.clone())
        elif name == "y":
            whole, output = _poisoned(device, n + 2 * GUARD, dtype), len(arguments)
            arguments.append(whole[GUARD:-GUARD])
            twin.append(torch.empty_like(arguments[-1], dtype=torch.float64 if real else None))
        elif name == "out":
            output = len(arguments)
            arguments.append(device.empty(1, dtype="float64").fill_(3.0))
            twin.append(arguments[-1].clone())
        else:
            arguments.append(values[name])
            # a twin goes over its arrays once
            twin.append(1 if name == "passes" and "out" not in names else values[name])
    kernel.twin(*twin)
    if "out" in names:
        return _Call(f"n={n}", tuple(arguments), tuple(twin), output, None, 1e-5, True)
    chain = STEPS + 1 if "steps" in names else 2
    tolerance = (
        chain * float(torch.finfo(arguments[output].dtype).eps) * (16 if "value" in names else 1.5) if real else 0
    )
    return _Call(f"n={n}", tuple(arguments), tuple(twin), output, whole, tolerance, False)


def _tiles(device: Any, kernel: Kernel) -> Iterator[_Call]:
    import torch

    found = [(dtype, loop) for dtype, loops in device.info.tensor_loops.items() for loop in loops]
    dtype, loop = next((d, each) for d, each in found if (each.source, each.function) == (kernel.name, kernel.function))
    block = max(1, kernel.threads // loop.threads)
    for tiles in (block, 3 * block, loop.tiles + block):
        a = device.random(tiles, loop.m, loop.k, dtype=dtype)
        b = device.random(tiles, loop.n, loop.k, dtype=dtype)
        elements = tiles * loop.m * loop.n
        whole = _poisoned(device, elements + 2 * GUARD, loop.out)
        c = whole[GUARD:-GUARD].view(tiles, loop.m, loop.n)
        twin = torch.empty_like(c, dtype=torch.float64 if c.is_floating_point() else None)
        kernel.twin(a, b, twin, elements, 8)
        tolerance = TILES.get(dtype, 1e-3)
        yield _Call(f"{tiles} tiles", (a, b, c, elements, 8), (a, b, twin, elements, 8), 2, whole, tolerance, True)


def cycle(device: Any, count: int) -> tuple[Any, Any]:
    """(lines, at): a random cycle over so many lines as chase.c and chase.cu follow it, and where it begins."""
    import torch

    lines = device.empty(count * LINE // 8, dtype="int64").fill_(POISON)
    order = torch.randperm(count, device=lines.device)
    addresses = lines.data_ptr() + LINE * order
    lines.view(-1, LINE // 8)[order, 0] = addresses.roll(-1)
    return lines, addresses[:1].clone()


def _chase(device: Any, kernel: Kernel, count: int, hops: int) -> _Call:
    lines, twin = cycle(device, count)
    whole = _poisoned(device, 1 + 2 * GUARD, "int64")
    at = whole[GUARD:-GUARD]
    at.copy_(twin)
    kernel.twin(lines, twin, 1, hops)
    return _Call(f"{hops} hops over {count} lines", (lines, at, 1, hops), (lines, twin, 1, hops), 1, whole, 0, False)


def _dtype(kernel: Kernel) -> str:
    known = [dtype for dtype in peak.FACTOR | {"int32": 0} if kernel.function.endswith(f"_{dtype}")]
    return known[0] if known else "float32"


def _fresh(device: Any, n: int, dtype: str) -> Any:
    """New numbers for each array: two that are alike would hide a kernel that reads one for the other."""
    tensor = device.empty(n, dtype=dtype)
    return tensor.uniform_(-1, 1) if tensor.is_floating_point() else tensor.random_(-(2**31), 2**31 - 1)


def _poisoned(device: Any, n: int, dtype: str) -> Any:
    tensor = device.empty(n, dtype=dtype)
    return tensor.fill_(float("nan") if tensor.is_floating_point() else POISON)


def _untouched(whole: Any) -> bool:
    for part in (whole[:GUARD], whole[-GUARD:]):
        if not bool((part.isnan() if part.is_floating_point() else part == POISON).all()):
            return False
    return True


def _name(kernel: Kernel) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in kernel.defines)
    return f"{kernel.name}.{kernel.function}" + (f" ({settings})" if settings else "")
