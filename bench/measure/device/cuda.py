"""An NVIDIA GPU as a device: kernels through NVRTC and CuPy, libraries and memory through torch, counters through NVML.

torch and CuPy are imported inside functions: whoever only asks which GPUs there are, or needs none, does not wait.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from bench import theory
from bench.measure.device import chips, nvml, nvrtc, protocol, stack
from bench.measure.device.cpu import slug
from bench.measure.device.host import installed, near
from bench.measure.device.protocol import Device, DeviceError, Kernel, OutOfMemory, Sample, Unsupported, torch_dtype
from bench.measure.device.timer import NODES, Stopwatch
from bench.measure.device.validity import judge, summary
from bench.schema import Cache, Case, DeviceInfo

# Share of the free memory that a ring of buffers may take, and elements that are converted at a time.
ROOM = 0.9
CHUNK = 1 << 26
# Blocks per SM of the kernel that reads the clock.
_STAMPS = 4
# Bytes of shared memory that a block may have without asking (CUDA Programming Guide, compute capabilities).
_STATIC_SHARED = 48 << 10
# What of the driver's knowledge stands among the device's facts.
IDENTITY = ("driver", "cuda_driver", "power_limit_w", "power_limit_default_w", "sm_clock_max_hz", "memory_clock_max_hz")
IDENTITY += ("ecc", "mig", "compute_mode", "pcie_generation_max", "pcie_width_max", "nvlinks", "nvlinks_total")
IDENTITY += ("numa_node",)


def ring(launch_bytes: float, last_level: int, free: float) -> int:
    """Sets of buffers so that four last-level caches of others pass between two uses of one, as memory permits.

    No more than a graph has nodes: a launch of so few bytes takes as long as a launch takes, wherever they lie. A ring
    that is too small for four caches is not cold, and the record of its case says so.
    """
    wanted = min(math.ceil(4 * last_level / max(launch_bytes, 1)) + 1, NODES)
    return max(1, min(wanted, int(ROOM * free / max(launch_bytes, 1))))


def blocks(kernel: Kernel, elements: int, sms: int) -> int:
    """Thread blocks of a launch: one tile of per_thread x threads elements each, or so many per SM that walk."""
    tiles = math.ceil(elements / (kernel.per_thread * kernel.threads))
    return max(1, min(tiles, kernel.waves * sms or 2**31 - 1, 2**31 - 1))


def argument(value: Any) -> Any:
    """A launch's argument as the kernel's ABI has it: tensors by address, integers as long long, reals as double."""
    import numpy

    if isinstance(value, bool):
        raise TypeError("a kernel takes tensors, integers and reals, no bool")
    if isinstance(value, int):
        return numpy.int64(value)
    if isinstance(value, float):
        return numpy.float64(value)
    return numpy.uint64(value.data_ptr())


class CudaDevice(Device):
    """The Device protocol on one GPU, in a process of its own."""

    def __init__(self, index: int = 0, *, seed: int = 0, rank: int = 0, world: int = 1, ranks: int = 1):
        if reason := stack.missing():
            raise DeviceError(reason)
        import torch

        if index >= torch.cuda.device_count():
            raise DeviceError(f"no GPU cuda:{index}; there are {torch.cuda.device_count()}, numbered from 0")
        self._torch, self._index, self.rank, self.world = torch, index, rank, world
        self._properties = torch.cuda.get_device_properties(index)
        self._sms = self._properties.multi_processor_count
        self._capability = torch.cuda.get_device_capability(index)
        self._functions: dict[tuple, Any] = {}
        self._watch: Stopwatch | None = None
        gpu = stack.torch_gpu(index, self._properties)
        self._monitor = nvml.Monitor(gpu.uuid)
        identity = self._monitor.identity()
        near(identity.get("numa_node"))
        # libraries are measured even where no kernel can be compiled
        self._arch, self._uncompiled = _target(self._capability)
        try:
            torch.cuda.set_device(index)
            self._generator = torch.Generator(device=self._device).manual_seed(seed)
            self._watch = self._stopwatch(identity.get("sm_clock_max_hz", 2e9))
        except RuntimeError as error:
            raise DeviceError(_refused(self._device, error, identity, self._monitor.counters())) from None
        self.info = self._describe(gpu, identity, ranks)

    @property
    def _device(self) -> str:
        return f"cuda:{self._index}"

    def _describe(self, gpu: stack.Gpu, identity: Mapping[str, Any], ranks: int) -> DeviceInfo:
        product = theory.match(identity.get("name", gpu.name)) or theory.match(gpu.name)
        if identity.get("mig") or " MIG " in f"{gpu.name} {identity.get('name', '')}":
            product = None  # a slice: no datasheet states its share of caches, links and power
        threads = self._properties.max_threads_per_multi_processor
        return DeviceInfo(
            id=self._device,
            name=gpu.name,
            product=product.sku if product else slug(gpu.name),
            sku=product.sku if product else "",
            uuid=gpu.uuid,
            memory_bytes=self._properties.total_memory,
            caches=(Cache("l2", self._properties.L2_cache_size),),
            units=chips.units(self._capability),
            loops=chips.loops(self._capability, self._sms, threads),
            algorithms=("ring", "default") if ranks > 1 else (),
            ranks=ranks,
            root=identity.get("pcie_root", ""),
            facts=self._facts(identity),
            **chips.features(self._capability, self._sms),
        )

    def _facts(self, identity: Mapping[str, Any]) -> dict[str, str]:
        facts = {
            "capability": "{}.{}".format(*self._capability),
            "arch": self._arch,
            "sms": str(self._sms),
            "cuda": str(self._torch.version.cuda),
        }
        if self._uncompiled:
            facts["caution"] = f"no kernel of the suite's own can run, only libraries are measured: {self._uncompiled}"
        else:
            facts["nvrtc"] = nvrtc.version()
        if cublas := installed("nvidia-cublas-cu12") or installed("nvidia-cublas"):
            facts["cublas"] = cublas
        known = {key: identity[key] for key in IDENTITY if key in identity}
        facts |= {key: f"{value:.0f}" if isinstance(value, float) else str(value) for key, value in known.items()}
        if "absent" in identity:
            facts["unknown"] = "; ".join(f"{key}: {reason}" for key, reason in identity["absent"].items())
        return facts

    def _stopwatch(self, cycles: float) -> Stopwatch:
        stamp = None
        try:
            # One of those on SM 0 answers. More than one for each SM: the last of a batch's blocks may still hold SM 0
            # while the others have room, and a stamp without it tells nothing.
            function = self._function(Kernel("clock", "stamp", None, elements=0, threads=32))
            stamp = partial(self._launch, function, _STAMPS * self._sms, 32, 0)
        except Unsupported:
            pass
        except (DeviceError, RuntimeError) as error:
            # the smallest kernel neither compiles nor loads, so none will: libraries can still be measured
            self._uncompiled = f"kernels do not load on this GPU: {(str(error).splitlines() or [''])[0]}"
        counters = self._torch.zeros(4, dtype=self._torch.int64, device=self._device)
        barrier = None
        if self.world > 1:
            import torch.distributed as dist

            barrier = partial(dist.all_reduce, self._torch.zeros(1, device=self._device))
        return Stopwatch(counters, stamp, cycles, self.world, barrier)

    def empty(self, *shape: int, dtype: str) -> Any:
        self._forget()
        with _memory():
            return self._torch.empty(shape, dtype=torch_dtype(dtype), device=self._device)

    def random(self, *shape: int, dtype: str) -> Any:
        tensor, torch = self.empty(*shape, dtype=dtype), self._torch
        if dtype in ("int8", "int32"):
            half = 1 << 8 * tensor.element_size() - 1
            return tensor.random_(-half, half, generator=self._generator)
        if dtype == "float4":  # every code is a number
            tensor.view(torch.uint8).random_(0, 256, generator=self._generator)
            return tensor
        if dtype != "float8_e4m3":
            return tensor.uniform_(-1, 1, generator=self._generator)
        # torch draws no 8-bit floats, and random bytes would hold NaN and saturated codes: convert bounded ones
        flat = tensor.view(-1)
        with _memory():
            for begin in range(0, flat.numel(), CHUNK):
                part = flat[begin : begin + CHUNK]
                wide = torch.empty(part.numel(), dtype=torch.float16, device=self._device)
                part.copy_(wide.uniform_(-1, 1, generator=self._generator))
        return tensor

    def rotation(self, launch_bytes: float, cache: str) -> int:
        if cache == "hot":
            return 1
        self._forget()
        return ring(launch_bytes, self.info.last_level, self._free())

    def host(self, *shape: int, dtype: str, memory: str) -> Any:
        pinned = memory == "pinned"
        try:
            return self._torch.empty(shape, dtype=torch_dtype(dtype), pin_memory=pinned)
        except RuntimeError as error:
            raise OutOfMemory(f"no {memory} host memory: {str(error).splitlines()[0]}") from None

    def duplex(self, one: Callable[[], Any], other: Callable[[], Any]) -> Callable[[], Any]:
        cuda = self._torch.cuda
        side, fork, join = cuda.Stream(), cuda.Event(), cuda.Event()

        def launch() -> None:
            fork.record()
            side.wait_event(fork)
            with cuda.stream(side):
                other()
                join.record()
            one()
            cuda.current_stream().wait_event(join)

        return launch

    def load(self, kernel: Kernel) -> Callable[..., None]:
        function, sms = self._function(kernel), self._sms

        def launch(*arguments: Any) -> None:
            grid = blocks(kernel, arguments[kernel.elements], sms)
            self._launch(function, grid, kernel.threads, kernel.shared, *arguments)

        return launch

    def _function(self, kernel: Kernel) -> Any:
        if self._uncompiled:
            raise Unsupported(self._uncompiled)
        key = (kernel.name, kernel.function, kernel.threads, kernel.defines)
        if key not in self._functions:
            from cupy.cuda.function import Module

            # what a body must know of its launch and of this GPU: it bounds its registers and its waves by them
            fits = self._properties.max_threads_per_multi_processor // kernel.threads
            shape = (("THREADS", kernel.threads), ("BLOCKS", fits), ("SMS", self._sms))
            source = protocol.kernel_source(kernel.name, ".cu")
            instances = (kernel.function,) if "<" in kernel.function else ()
            code = nvrtc.cubin(source, self._arch, shape + kernel.defines, instances)
            module = Module()
            module.load(code.code)
            try:
                function = module.get_function(code.names.get(kernel.function, kernel.function))
            except RuntimeError as error:
                raise Unsupported(f"{kernel.name}.cu has no {kernel.function} for {self._arch} ({error})") from None
            if kernel.shared > _STATIC_SHARED:
                _allow(function, kernel.shared)
            self._functions[key] = function
        return self._functions[key]

    def _launch(self, function: Any, grid: int, threads: int, shared: int, *arguments: Any) -> None:
        # asked at every launch: during a capture the current stream is another one
        stream = _Stream(self._torch.cuda.current_stream().cuda_stream)
        function((grid,), (threads,), tuple(map(argument, arguments)), shared_mem=shared, stream=stream)

    def begin(self, case: Case) -> None:
        self._forget()

    def time(self, case: Case, launches: Sequence[Callable[[], Any]], count: int) -> Sample:
        with _memory():
            return self._watch.time(launches, count, case.timing)

    def synchronize(self) -> None:
        self._torch.cuda.synchronize()

    def rest(self, seconds: float) -> None:
        self._monitor.resting = True
        time.sleep(seconds)
        self._monitor.resting = False

    def all_reduce(self, tensor: Any, algorithm: str) -> Callable[[], Any]:
        launch = super().all_reduce(tensor, algorithm)
        # NCCL reads its settings when the process starts, from whoever started it
        if algorithm == "ring" and os.environ.get("NCCL_NVLS_ENABLE") != "0":
            raise Unsupported("these ranks were not started for the ring (NCCL_NVLS_ENABLE=0)")
        return launch

    def telemetry(self) -> Mapping[str, Any]:
        return self._monitor.counters()

    @contextmanager
    def watch(self) -> Iterator[dict[str, Any]]:
        during: dict[str, Any] = {}
        with self._monitor.watch() as readings:
            yield during
        during.update(summary(readings))

    judge = staticmethod(judge)

    def close(self) -> None:
        self._forget()
        self._functions.clear()
        self._monitor.close()
        self._torch.cuda.empty_cache()

    def _forget(self) -> None:
        # a new buffer means a new case: the last one's graph must not keep its memory
        if self._watch:
            self._watch.forget()

    def _free(self) -> float:
        """Bytes that can still be allocated, those that torch keeps for itself included."""
        cuda = self._torch.cuda
        free, _ = cuda.mem_get_info(self._index)
        return free + cuda.memory_reserved(self._index) - cuda.memory_allocated(self._index)


class _Stream(NamedTuple):
    """All that CuPy's launch reads of a stream. Its ExternalStream is deprecated since CuPy 14 and warns each time."""

    ptr: int


@contextmanager
def _memory() -> Iterator[None]:
    """torch's way of saying that the GPU is full, in the suite's own word."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemory(f"out of GPU memory: {str(error).splitlines()[0]}") from None


def _target(capability: tuple[int, int]) -> tuple[str, str]:
    """(architecture to compile for, "") or ("", why nothing can be compiled here)."""
    try:
        return nvrtc.arch(capability), ""
    except DeviceError as error:
        return "", stack.remedy(stack.installed_stack()) or str(error)


def _allow(function: Any, size: int) -> None:
    """Lets a kernel have more shared memory than a block gets unasked."""
    from cupy_backends.cuda.api import driver

    driver.funcSetAttribute(function.ptr, driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, size)


def _refused(device: str, error: Exception, identity: Mapping[str, Any], counters: Mapping[str, Any]) -> str:
    """Why a GPU that is there cannot be used, as far as the driver tells."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    others = ", ".join(map(str, counters.get("other_processes", ()))) or "unknown"
    if identity.get("compute_mode") == "exclusive process":
        return f"{device} is in exclusive-process mode and taken (process {others}): end that process ({reason})"
    if identity.get("compute_mode") == "prohibited":
        return f"{device} is in prohibited mode: `nvidia-smi -c DEFAULT` as root lets processes use it ({reason})"
    if "memory" in reason.lower():
        return f"{device} has no memory left for this process (other processes: {others}): end them ({reason})"
    return f"{device} cannot be used: {reason}"
