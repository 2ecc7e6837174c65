"""What is to be known of the machine around the devices: system, processor, memory, disk, compiler, libraries."""

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench import units
from bench.measure.device import cc, host, stack
from bench.measure.doctor.diagnosis import Observation, observed

# A Run file is a few MB; a compiled kernel 50 kB.
_ENOUGH_DISK = 200e6
# Ordinary cases take a sixteenth of the memory, a prefill of attention a few copies of that.
_ENOUGH_MEMORY = 2 * 2**30
# NVIDIA advises 1 GiB for a container (NCCL user guide, Troubleshooting). Docker and Kubernetes give 64 MiB, and a
# segment of one connection was seen to take 10 MB (NVIDIA/nccl#342).
_ENOUGH_SHARED = 1e9
_SHM = Path("/dev/shm")


def findings(devices: Sequence[str], folder: Path) -> list[Observation]:
    """The host's, for a Run on these devices whose file goes to `folder`."""
    system = f"{host.os_name()}, {platform.system()} {platform.release()}, {platform.machine()}"
    found = [Observation("system", system), _processor(), memory()]
    found += [_disk("results", folder), _disk("cache", host.cache_folder()), _compiler("cpu" in devices)]
    if sum(name.startswith("cuda:") for name in devices) > 1:
        found.append(shared_memory())
    return found + (_company() if "cpu" in devices else [])


def libraries(parts: stack.Stack, devices: Sequence[str], chosen: bool) -> list[Observation]:
    """torch and what a GPU needs besides. chosen: whether a person named the devices, so that no GPU is missed."""
    if not parts.torch:
        return [observed("torch", "missing", remedy=stack.remedy(parts))]
    bound = "CUDA {}.{}".format(*parts.torch_cuda) if parts.torch_cuda else "without CUDA"
    versions = [("torch", f"{parts.torch}, {bound}")]
    versions += [("CuPy", f"{version} ({name})") for name, version in parts.cupy.items()]
    versions += [("NVRTC", parts.nvrtc), ("pynvml", host.installed("nvidia-ml-py"))]
    return [*(Observation(*each) for each in versions if each[1]), _stack(parts, devices, chosen)]


def _stack(parts: stack.Stack, devices: Sequence[str], chosen: bool) -> Observation:
    remedy = stack.remedy(parts)
    if any(name.startswith("cuda:") for name in devices):
        return observed("GPU stack", "amiss" if remedy else "fits", remedy=remedy)
    if chosen:
        return observed("GPU stack", "unasked")
    here = len(parts.capabilities) or nvidia_devices()
    if not here:
        return observed("GPU stack", "none")
    if remedy:
        gpus = f"{here} NVIDIA {'GPU is' if here == 1 else 'GPUs are'}"
        return observed("GPU stack", "missed", gpus=gpus, remedy=remedy)
    return observed("GPU stack", "unusable", reason=stack.missing())


def nvidia_devices(folder: Path = host.PCI) -> int:
    """NVIDIA's display and 3D controllers on the PCI bus, with or without a driver."""
    told = [(host.text(device / "vendor").strip(), host.text(device / "class")) for device in folder.glob("*")]
    return sum(vendor == "0x10de" and kind.startswith(("0x0300", "0x0302")) for vendor, kind in told)


def _processor() -> Observation:
    cores, threads = host.physical_cores(), len(host.CORES)
    all_threads = os.cpu_count() or threads
    name = f"{host.cpuinfo().get('model name', platform.machine())}, {cores} {'core' if cores == 1 else 'cores'}"
    name += f", {threads} threads"
    if threads < all_threads:
        name += f" of {all_threads}, the others are not for this process"
    return Observation("processor", name) if host.AFFINE else observed("processor", "unbound", name=name)


def memory() -> Observation:
    free, total = host.memory_available(), host.memory_total()
    case = "untold" if not total else "total" if not free else "small" if free < _ENOUGH_MEMORY else "enough"
    return observed("memory", case, total=units.size(total), free=units.size(free))


def shared_memory(folder: Path = _SHM) -> Observation:
    """Whether NCCL can put there what GPUs pass on that do not reach one another."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return observed("shared memory", "missing", folder=folder, reason=error.strerror)
    return observed(
        "shared memory", "small" if free < _ENOUGH_SHARED else "enough", folder=folder, free=units.size(free)
    )


def _disk(topic: str, folder: Path) -> Observation:
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return observed(topic, "closed", folder=folder)
    free = shutil.disk_usage(nearest).free
    return observed(topic, "full" if free < _ENOUGH_DISK else "fine", folder=folder, free=units.size(free))


def _compiler(needed: bool) -> Observation:
    if compiler := cc.compiler():
        return Observation("C compiler", compiler.version)
    return observed("C compiler", "needed" if needed else "missing")


def _company() -> list[Observation]:
    """Who else is on the cores that are about to be measured."""
    if not hasattr(os, "getloadavg"):
        return [observed("load", "untold")]
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    threads = f"{load:.1f} threads were running on {cores} cores in the last minute"
    found = [observed("load", "busy" if load > 0.5 * cores else "quiet", threads=threads)]
    return found + ([observed("virtual machine", "here")] if host.is_virtual() else [])
