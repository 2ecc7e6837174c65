"""What must fit together before a GPU is measured (driver, torch, CuPy, NVRTC), and what to do first where it does not.

Every part is of one CUDA major release. Within a major, minor releases mix (docs.nvidia.com/deploy/cuda-compatibility:
CUDA 13 needs a driver of 580 or newer, CUDA 12 of 525), and cubins ask no more of a driver than torch's own do. What
would make this wrong: a package that says one version and loads another, such as a system's library before the wheel's.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from bench.measure.device import nvrtc
from bench.measure.device.protocol import DeviceError

# CUDA major -> the oldest driver that runs it; torch's wheels for it. CUDA 12's have Volta to Hopper, none newer.
DRIVERS = {12: 525, 13: 580}
_WHEELS = {12: "cu126", 13: "cu130"}
# torch's CUDA 12 wheels with Blackwell, which cu126 lacks (pytorch/pytorch, issue 172352).
_BLACKWELL, _BLACKWELL_WHEELS = (10, 0), "cu128"
# CUDA 13 compiles for Turing and newer only.
_TURING = (7, 5)


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


def found() -> Stack:
    """This machine's. Nothing is raised: what does not answer is missing."""
    torch, torch_cuda = _torch()
    compiler = ""
    with suppress(DeviceError):
        compiler = nvrtc.version()
    return Stack(torch=torch, torch_cuda=torch_cuda, cupy=_cupy(), nvrtc=compiler, **_driver())


def extra(stack: Stack) -> str:
    """The extra of ridgepoint that fits, "cuda13" or "cuda12": by torch's CUDA, else by what the driver can run."""
    major = stack.torch_cuda[0] if stack.torch_cuda else _driver_major(stack)
    return "cuda13" if major is None or major >= 13 else "cuda12"


def remedy(stack: Stack) -> str:
    """The one thing to do next so that a GPU can be measured, a line with its command; "" where everything fits."""
    return _torch_missing(stack) or _driver_missing(stack) or _torch_amiss(stack) or _cupy_amiss(stack)


def _torch_missing(stack: Stack) -> str:
    return "" if stack.torch else f"torch cannot be imported: {_install_torch(_wanted(stack), stack)}"


def _driver_missing(stack: Stack) -> str:
    if stack.driver:
        return ""
    if "mismatch" in stack.silence.lower():  # the driver was upgraded under a running kernel
        return (
            f"the NVIDIA driver does not answer ({stack.silence}): reboot, so that module and library are one release"
        )
    reason = f" ({stack.silence})" if stack.silence else ""
    return (
        f"no NVIDIA driver answers{reason}: install one of {DRIVERS[13]} or newer, or start the container with "
        "--gpus all; `nvidia-smi` must list the GPU"
    )


def _torch_amiss(stack: Stack) -> str:
    driver, wanted = _driver_major(stack), _wanted(stack)
    if stack.torch_cuda is None:
        return (
            f"torch {stack.torch} was built without CUDA, while driver {stack.driver} is here: "
            f"{_install_torch(wanted, stack)}"
        )
    torch = f"torch {stack.torch} is built for CUDA {_dotted(stack.torch_cuda)}"
    major = stack.torch_cuda[0]
    if major not in DRIVERS:
        return f"{torch}, this version of ridgepoint knows CUDA 12 and 13: {_install_torch(wanted, stack)}"
    if major >= 13 and _volta(stack):
        return (
            f"{torch}, which has dropped {_oldest(stack)}, as has NVRTC 13: {_install_torch(12, stack)}, "
            f"then {_install_extra(stack, 12)}"
        )
    if driver is not None and driver < major:
        upto = f" (up to CUDA {_dotted(stack.driver_cuda)})" if stack.driver_cuda else ""
        newer = f"driver {stack.driver}{upto} is too old, since {torch}: install a driver of {DRIVERS[major]} or newer"
        if driver < 12:
            return newer
        return f"{newer}, or a torch of the older CUDA: {_install_torch(12, stack)}, then {_install_extra(stack, 12)}"
    return ""


def _cupy_amiss(stack: Stack) -> str:
    major = stack.torch_cuda[0]
    names = sorted(stack.cupy)
    if len(names) > 1:
        return f"{' and '.join(names)} are both installed and overwrite each other: {_install_extra(stack, major)}"
    if not names:
        return f"CuPy is not installed, and kernels are launched through it: {_install_extra(stack, major)}"
    theirs = re.fullmatch(r"cupy-cuda(\d\d)x", names[0])
    if names != ["cupy"] and (not theirs or int(theirs[1]) != major):  # a plain "cupy" was built here, for any CUDA
        return f"{names[0]} is not for CUDA {major}, which torch {stack.torch} uses: {_install_extra(stack, major)}"
    if not stack.nvrtc:
        return f"NVRTC, the kernels' compiler, is missing or cannot be loaded: pip install 'ridgepoint[cuda{major}]'"
    if _major(stack.nvrtc) != major:
        return (
            f"NVRTC {stack.nvrtc} is not of CUDA {major}, which torch {stack.torch} uses: "
            f"pip install --force-reinstall 'ridgepoint[cuda{major}]'"
        )
    return ""


def _wanted(stack: Stack) -> int:
    """The CUDA major that driver and GPUs can run."""
    driver = _driver_major(stack)
    return 12 if _volta(stack) or (driver is not None and driver < 13) else 13


def _volta(stack: Stack) -> bool:
    return any(capability < _TURING for capability in stack.capabilities)


def _oldest(stack: Stack) -> str:
    oldest = min(stack.capabilities)
    return "sm_{}{}".format(*oldest) + (" (V100)" if oldest == (7, 0) else "")


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
    return torch.__version__, _pair(torch.version.cuda)


def _cupy() -> dict[str, str]:
    # CuPy's own distributions; others have its name in theirs (cupy-xarray)
    own = re.compile(r"cupy(-cuda\d+x?|-rocm[-\d]+)?")
    named = {re.sub(r"[_.]", "-", d.metadata["Name"] or "").lower(): d.version for d in metadata.distributions()}
    return {name: version for name, version in sorted(named.items()) if own.fullmatch(name)}


def _driver() -> dict[str, Any]:
    """The driver's share of a Stack, through NVML: no CUDA context is made, so that a broken one hurts nobody."""
    try:
        import pynvml
    except ImportError as error:
        return {"silence": f"nvidia-ml-py is missing: {error}"}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"silence": str(error)}
    answers: dict[str, Any] = {}
    try:
        answers["driver"] = pynvml.nvmlSystemGetDriverVersion()
        with suppress(pynvml.NVMLError):
            version = pynvml.nvmlSystemGetCudaDriverVersion_v2()
            answers["driver_cuda"] = (version // 1000, version % 1000 // 10)
        with suppress(pynvml.NVMLError):
            handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
            answers["capabilities"] = tuple(map(pynvml.nvmlDeviceGetCudaComputeCapability, handles))
    except pynvml.NVMLError as error:
        answers["silence"] = str(error)
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return answers


def _pair(version: str | None) -> tuple[int, int] | None:
    numbers = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def _major(version: str) -> int | None:
    number = re.match(r"\d+", version)
    return int(number[0]) if number else None


def _dotted(version: tuple[int, int] | None) -> str:
    return "{}.{}".format(*version) if version else "?"
