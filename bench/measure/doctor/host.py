"""What is to be known of the machine around the devices: system, processor, memory, disk, compiler, libraries."""

import os
import platform
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from bench import units
from bench.measure.device import cc, cpu, cuda, stack
from bench.measure.doctor.finding import Finding

# A Run file is a few MB; a compiled kernel 50 kB.
_ENOUGH_DISK = 200e6
# Ordinary cases take a sixteenth of the memory, a prefill of attention a few copies of that.
_ENOUGH_MEMORY = 2 * 2**30
# NVIDIA advises 1 GiB for a container (NCCL user guide, Troubleshooting). Docker and Kubernetes give 64 MiB, and a
# segment of one connection was seen to take 10 MB (NVIDIA/nccl#342).
_ENOUGH_SHARED = 1e9
_PCI = Path("/sys/bus/pci/devices")
_SHM = Path("/dev/shm")


def findings(devices: Sequence[str], folder: Path) -> list[Finding]:
    """The host's, for a Run on these devices whose file goes to `folder`."""
    found = [
        Finding("system", f"{_os()}, {platform.system()} {platform.release()}, {platform.machine()}"),
        _processor(),
        _memory(),
        _disk("results", folder, "choose another folder with --out"),
        _disk(
            "cache", _cache(), "set XDG_CACHE_HOME to a folder that can be written; kernels are compiled anew each time"
        ),
        _compiler("cpu" in devices),
    ]
    if sum(name.startswith("cuda:") for name in devices) > 1:
        found.append(shared_memory())
    return found + (_company() if "cpu" in devices else [])


def libraries(parts: stack.Stack, devices: Sequence[str], chosen: bool) -> list[Finding]:
    """torch and what a GPU needs besides. chosen: whether a person named the devices, so that no GPU is missed."""
    bound = f", CUDA {'.'.join(map(str, parts.torch_cuda))}" if parts.torch_cuda else ", without CUDA"
    if not parts.torch:
        return [Finding("torch", "missing, and nothing is measured without it", "bad", stack.remedy(parts))]
    found = [Finding("torch", parts.torch + bound)]
    found += [Finding("CuPy", f"{version} ({name})") for name, version in parts.cupy.items()]
    found += [Finding("NVRTC", parts.nvrtc)] if parts.nvrtc else []
    found += [Finding("pynvml", version)] if (version := _version("nvidia-ml-py")) else []
    return [*found, _stack(parts, devices, chosen)]


def _stack(parts: stack.Stack, devices: Sequence[str], chosen: bool) -> Finding:
    remedy = stack.remedy(parts)
    if any(name.startswith("cuda:") for name in devices):
        if not remedy:
            return Finding("GPU stack", "driver, torch, CuPy and NVRTC fit together")
        return Finding("GPU stack", "driver, torch, CuPy and NVRTC do not fit together", "bad", remedy)
    if chosen:
        return Finding("GPU stack", "no GPU was asked for")
    here = len(parts.capabilities) or nvidia_devices()
    if not here:
        return Finding("GPU stack", "no NVIDIA GPU is in this machine, so the CPU is measured", "note")
    if remedy:
        text = f"{here} NVIDIA {'GPU is' if here == 1 else 'GPUs are'} here, but only the CPU would be measured"
        return Finding("GPU stack", text, "bad", f"{remedy} (or say --device cpu)")
    return Finding("GPU stack", f"the CPU is measured: {cuda.missing()}", "note")


def nvidia_devices(folder: Path = _PCI) -> int:
    """NVIDIA's display and 3D controllers on the PCI bus, with or without a driver."""
    count = 0
    for device in folder.glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
        except OSError:
            continue
        count += vendor == "0x10de" and kind.startswith(("0x0300", "0x0302"))
    return count


def _processor() -> Finding:
    cores, threads = cpu.physical_cores(), len(cpu.CORES)
    name = cpu.cpuinfo().get("model name", platform.machine())
    all_threads = os.cpu_count() or threads
    only = f" of {all_threads}, the others are not for this process" if threads < all_threads else ""
    text = f"{name}, {cores} {'core' if cores == 1 else 'cores'}, {threads} threads{only}"
    if not cpu.AFFINE:
        text += "; this system does not say which of them are for this process, and binds no thread to one"
        return Finding("processor", text, "note", "measure on Linux: threads that wander lower a CPU's numbers")
    return Finding("processor", text)


def _memory() -> Finding:
    free = _available()
    total = cpu.memory_total()
    if not total:
        return Finding("memory", "this system does not tell: its CPU is not measured", "note", "measure on Linux")
    text = f"{units.size(total)}, {units.size(free)} available" if free else units.size(total)
    if not free:
        return Finding("memory", f"{text}; what is free of it is not told", "note")
    if free < _ENOUGH_MEMORY:
        return Finding("memory", f"{text}: large cases would be skipped", "warn", "end what takes it")
    return Finding("memory", text)


def shared_memory(folder: Path = _SHM) -> Finding:
    """Whether NCCL can put there what GPUs pass on that do not reach one another."""
    fix = "start the container with --shm-size=1g (Kubernetes: an emptyDir of medium Memory at /dev/shm), or --ipc=host"
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("shared memory", f"{folder}: {error.strerror}; an all-reduce would fail", "warn", fix)
    if free < _ENOUGH_SHARED:
        text = f"{units.size(free)} free in {folder}: NCCL may fail with 'Error while creating shared memory segment'"
        return Finding("shared memory", text, "warn", fix)
    return Finding("shared memory", f"{units.size(free)} free in {folder}")


def _available() -> int:
    """Bytes that can be had without swapping; 0 where nobody tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return cpu.system("SC_AVPHYS_PAGES") * cpu.system("SC_PAGE_SIZE")


def _disk(topic: str, folder: Path, fix: str) -> Finding:
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Finding(topic, f"{folder} cannot be written", "bad" if topic == "results" else "warn", fix)
    free = shutil.disk_usage(nearest).free
    text = f"{folder}, {units.size(free)} free on its disk"
    if free < _ENOUGH_DISK:
        return Finding(topic, text, "warn", f"make room, or {fix}")
    return Finding(topic, text)


def _cache() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "ridgepoint"
    except RuntimeError:  # a user without a home
        return Path("/nonexistent/ridgepoint")


def _compiler(needed: bool) -> Finding:
    compiler = cc.compiler()
    if compiler:
        return Finding("C compiler", compiler.version)
    text = "none: the CPU's roofs would be those of torch's own loops, which are under-estimates"
    return Finding("C compiler", text, "bad" if needed else "note", "install gcc or clang")


def _company() -> list[Finding]:
    """Who else is on the cores that are about to be measured."""
    if not hasattr(os, "getloadavg"):
        return [Finding("load", "this system does not tell who else computes", "note")]
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    text = f"{load:.1f} threads were running on {cores} cores in the last minute"
    found = [Finding("load", text)]
    if load > 0.5 * cores:
        fix = "end what runs, or wait: samples of which others took over 5 % are marked as suspect"
        found = [Finding("load", text, "warn", fix)]
    if "hypervisor" in cpu.cpuinfo().get("flags", "").split():
        found.append(Finding("virtual machine", "its neighbours' memory traffic slows it and shows nowhere", "note"))
    return found


def _os() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
