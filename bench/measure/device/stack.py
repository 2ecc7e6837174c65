"""Which GPUs can be used here, and what must fit together first: driver, torch, CuPy and NVRTC.

Every part is of one CUDA major release. Within a major, minor releases mix (docs.nvidia.com/deploy/cuda-compatibility:
CUDA 13 needs a driver of 580 or newer, CUDA 12 of 525), and cubins ask no more of a driver than torch's own do. What
would make this wrong: a package that says one version and loads another, such as a system's library before the wheel's.
"""

import ctypes
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.measure.device import nvml, nvrtc
from bench.measure.device.protocol import DeviceError

# CUDA major -> the oldest driver that runs it; torch's wheels for it. CUDA 12's have Volta to Hopper, none newer.
DRIVERS = {12: 525, 13: 580}
_WHEELS = {12: "cu126", 13: "cu130"}
# torch's CUDA 12 wheels with Blackwell, which cu126 lacks (pytorch/pytorch, issue 172352).
_BLACKWELL, _BLACKWELL_WHEELS = (10, 0), "cu128"
# CUDA 13 compiles for Turing and newer only.
_TURING = (7, 5)
DRIVER = "libcuda.so.1"
# Where a kernel shows that it has a driver: Linux, and Linux under Windows.
_SIGNS = ("/proc/driver/nvidia/version", "/dev/dxg")


@dataclass(frozen=True)
class Gpu:
    """A GPU that this process can see: its number for CUDA, its UUID for everyone ("GPU-..."), its name."""

    index: int
    uuid: str
    name: str


def visible() -> list[Gpu]:
    """Every CUDA GPU of this process; none where there is no torch, no driver or no GPU. Never raises for that."""
    listed = driver_gpus()
    if listed is not None:
        return listed
    if missing():
        return []
    import torch

    return [torch_gpu(index, torch.cuda.get_device_properties(index)) for index in range(torch.cuda.device_count())]


def missing() -> str:
    """Why no CUDA GPU can be used here and what to do about it; "" where one can."""
    try:
        import torch
    except ImportError as error:
        return f"measuring needs torch: {error}; {nvrtc.INSTALL}"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA; install a CUDA build: https://pytorch.org/get-started/locally/"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        # "driver is too old" and "found no NVIDIA driver" both come this way, in words worth reading
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use a GPU: {reason}"
    return "" if torch.cuda.device_count() else "no NVIDIA GPU is visible (see CUDA_VISIBLE_DEVICES)"


def torch_gpu(index: int, properties: Any) -> Gpu:
    """properties: torch's of it."""
    uuid = str(properties.uuid)
    return Gpu(index, uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}", properties.name)


def driver_gpus(library: str = DRIVER) -> list[Gpu] | None:
    """The GPUs that torch can use, by the driver's word; none without a driver that answers. No context is made.

    Without torch, whose loading takes seconds that a sniff does not have. The order is the CUDA runtime's and so
    torch's: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are heeded below both (docs.nvidia.com/cuda/cuda-driver-api,
    device management). None where torch has to be asked: of a slice of a GPU, or if it may not fit this driver and can
    say why.
    """
    if sys.platform != "linux":
        return None
    try:
        driver = ctypes.CDLL(library)
    except OSError:  # torch may know another place where the library of a driver that is here lies
        return None if any(Path(sign).exists() for sign in _SIGNS) else []
    try:
        version, count = ctypes.c_int(), ctypes.c_int()
        _asked(driver.cuInit, 0)
        _asked(driver.cuDriverGetVersion, ctypes.byref(version))
        _asked(driver.cuDeviceGetCount, ctypes.byref(count))
    except OSError:
        return []
    built = built_for()
    if built is None or built > version.value // 1000:
        return None
    try:
        gpus = [_driver_gpu(driver, index) for index in range(count.value)]
    except (OSError, AttributeError):  # one that does not answer; a driver before CUDA 11.4 has no such name for UUIDs
        return None
    return None if any(" MIG " in gpu.name for gpu in gpus) else gpus


def built_for() -> int | None:
    """The CUDA major release that torch was built for, read and not imported; None if it is not here or has none."""
    with suppress(ImportError, OSError, ValueError):
        spec = importlib.util.find_spec("torch")
        for folder in (spec and spec.submodule_search_locations) or ():
            cuda = re.search(r"^cuda\b.*=\s*'(\d+)\.", Path(folder, "version.py").read_text(), re.MULTILINE)
            return int(cuda[1]) if cuda else None
    return None


def _driver_gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, uuid, name = ctypes.c_int(), (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(256)
    _asked(driver.cuDeviceGet, ctypes.byref(device), index)
    _asked(driver.cuDeviceGetUuid_v2, uuid, device)
    _asked(driver.cuDeviceGetName, name, len(name), device)
    return Gpu(index, f"GPU-{UUID(bytes=bytes(uuid))}", name.value.decode(errors="replace"))


def _asked(function: Callable[..., int], *arguments: Any) -> None:
    """Raises OSError for an answer that is not CUDA_SUCCESS."""
    if code := function(*arguments):
        raise OSError(f"{function.__name__} answers {code}")


@dataclass(frozen=True)
class Stack:
    """The parts found, "" or None for what is missing: driver "580.159.03", driver_cuda (13, 0), torch "2.13.0+cu130".

    torch_cuda: None for a build without CUDA. cupy: installed distribution -> version ("cupy-cuda13x": "14.2.0").
    nvrtc: the version that CuPy loads. capabilities: of the GPUs that the driver lists. silence: why it says nothing.
    """

    driver: str = ""
    driver_cuda: tuple[int, int] | None = None
    torch: str = ""
    torch_cuda: tuple[int, int] | None = None
    cupy: Mapping[str, str] = field(default_factory=dict)
    nvrtc: str = ""
    capabilities: tuple[tuple[int, int], ...] = ()
    silence: str = ""


def installed_stack() -> Stack:
    """This machine's. Nothing is raised: what does not answer is missing."""
    torch, torch_cuda = _torch()
    compiler = ""
    with suppress(DeviceError):
        compiler = nvrtc.version()
    return Stack(torch=torch, torch_cuda=torch_cuda, cupy=_cupy(), nvrtc=compiler, **_driver())


def remedy(stack: Stack) -> str:
    """The one thing to do next so that a GPU can be measured, a line with its command; "" where everything fits."""
    return next(_troubles(stack), "")


def _troubles(stack: Stack) -> Iterator[str]:
    """From the most basic on: each takes for granted that those before it are mended."""
    install, driver = _install_torch(_wanted(stack), stack), _driver_major(stack)
    if not stack.torch:
        yield f"torch cannot be imported: {install}"
    if not stack.driver:
        reason = f" ({stack.silence})" if stack.silence else ""
        if "mismatch" in reason.lower():  # the driver was upgraded under a running kernel
            yield f"the NVIDIA driver does not answer{reason}: reboot, so that module and library are one release"
        container = "start the container with --gpus all; `nvidia-smi` must list the GPU"
        yield f"no NVIDIA driver answers{reason}: install one of {DRIVERS[13]} or newer, or {container}"
    if stack.torch_cuda is None:
        yield f"torch {stack.torch} was built without CUDA, while driver {stack.driver} is here: {install}"
    major = stack.torch_cuda[0]
    torch = "torch {} is built for CUDA {}.{}".format(stack.torch, *stack.torch_cuda)
    older = f"{_install_torch(12, stack)}, then {_install_extra(stack, 12)}"
    if major not in DRIVERS:
        yield f"{torch}, this version of ridgepoint knows CUDA 12 and 13: {install}"
    if major >= 13 and _volta(stack):
        oldest = min(stack.capabilities)
        name = "sm_{}{}".format(*oldest) + (" (V100)" if oldest == (7, 0) else "")
        yield f"{torch}, which has dropped {name}, as has NVRTC 13: {older}"
    if driver is not None and driver < major:
        upto = " (up to CUDA {}.{})".format(*stack.driver_cuda) if stack.driver_cuda else ""
        newer = f"driver {stack.driver}{upto} is too old, since {torch}: install a driver of {DRIVERS[major]} or newer"
        yield newer if driver < 12 else f"{newer}, or a torch of the older CUDA: {older}"
    names, install = sorted(stack.cupy), _install_extra(stack, major)
    uses = f"CUDA {major}, which torch {stack.torch} uses"
    if len(names) > 1:
        yield f"{' and '.join(names)} are both installed and overwrite each other: {install}"
    if not names:
        yield f"CuPy is not installed, and kernels are launched through it: {install}"
    if names not in (["cupy"], [f"cupy-cuda{major}x"]):  # a plain "cupy" was built here, for any CUDA
        yield f"{names[0]} is not for {uses}: {install}"
    if not stack.nvrtc:
        yield f"NVRTC, the kernels' compiler, is missing or cannot be loaded: pip install 'ridgepoint[cuda{major}]'"
    if _major(stack.nvrtc) != major:
        yield f"NVRTC {stack.nvrtc} is not of {uses}: pip install --force-reinstall 'ridgepoint[cuda{major}]'"


def _wanted(stack: Stack) -> int:
    """The CUDA major that driver and GPUs can run."""
    driver = _driver_major(stack)
    return 12 if _volta(stack) or (driver is not None and driver < 13) else 13


def _volta(stack: Stack) -> bool:
    return any(capability < _TURING for capability in stack.capabilities)


def _driver_major(stack: Stack) -> int | None:
    """The newest CUDA major that the driver runs: its own word, else what its number tells; None if neither does."""
    if stack.driver_cuda:
        return stack.driver_cuda[0]
    number = _major(stack.driver)
    return max((major for major, oldest in DRIVERS.items() if number >= oldest), default=11) if number else None


def _install_torch(major: int, stack: Stack) -> str:
    # pip takes another build of the same version for the one that is asked, unless it is forced
    blackwell = major == 12 and any(capability >= _BLACKWELL for capability in stack.capabilities)
    wheels = _BLACKWELL_WHEELS if blackwell else _WHEELS[major]
    return f"pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/{wheels}"


def _install_extra(stack: Stack, major: int) -> str:
    fits = f"cupy-cuda{major}x"
    # two distributions share one folder: removing either leaves holes in the other
    foreign = sorted(stack.cupy) if len(stack.cupy) > 1 else [name for name in stack.cupy if name != fits]
    removal = f"pip uninstall -y {' '.join(foreign)} && " if foreign else ""
    return f"{removal}pip install 'ridgepoint[cuda{major}]'"


def _torch() -> tuple[str, tuple[int, int] | None]:
    try:
        import torch
    except Exception:  # a broken install fails in its own ways: a library of another release, a cut-off file
        return "", None
    numbers = re.match(r"(\d+)\.(\d+)", torch.version.cuda or "")
    return torch.__version__, (int(numbers[1]), int(numbers[2])) if numbers else None


def _cupy() -> dict[str, str]:
    # CuPy's own distributions; others have its name in theirs (cupy-xarray)
    own = re.compile(r"cupy(-cuda\d+x?|-rocm[-\d]+)?")
    named = {re.sub(r"[_.]", "-", d.metadata["Name"] or "").lower(): d.version for d in metadata.distributions()}
    return {name: version for name, version in sorted(named.items()) if own.fullmatch(name)}


def _driver() -> dict[str, Any]:
    """The driver's share of a Stack, through NVML: no CUDA context is made, so that a broken one hurts nobody."""
    answers: dict[str, Any] = {}
    try:
        with nvml.session() as library:
            answers["driver"] = library.nvmlSystemGetDriverVersion()
            with suppress(library.NVMLError):
                answers["driver_cuda"] = nvml.cuda_version(library)
            with suppress(library.NVMLError):
                handles = map(library.nvmlDeviceGetHandleByIndex, range(library.nvmlDeviceGetCount()))
                answers["capabilities"] = tuple(map(library.nvmlDeviceGetCudaComputeCapability, handles))
    except nvml.NoAnswer as error:
        answers["silence"] = str(error)
    return answers


def _major(version: str) -> int | None:
    number = re.match(r"\d+", version)
    return int(number[0]) if number else None
