"""What this host tells of its system, cores, caches, memory and PCI devices, and where it keeps what was compiled."""

import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from bench.schema import Cache
from bench.store import replaced

# macOS does not say which cores a process may use, and Windows has none of POSIX: Runs are read there all the same.
AFFINE = hasattr(os, "sched_getaffinity")
# Asked before torch loads: a pinning OpenMP runtime binds the main thread to one core, and the answer with it.
CORES = tuple(sorted(os.sched_getaffinity(0)) if AFFINE else range(os.cpu_count() or 1))
PCI = Path("/sys/bus/pci/devices")
_DIGEST = sha256().digest_size


def text(path: str | Path) -> str:
    """What a file holds; "" where it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def installed(distribution: str) -> str:
    """Its version; "" where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def cpuinfo() -> dict[str, str]:
    """The first processor's fields of /proc/cpuinfo; empty where there is none."""
    fields = (line.partition(":") for line in text("/proc/cpuinfo").split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in fields}


def is_virtual() -> bool:
    """Whether a hypervisor shares these cores out."""
    return "hypervisor" in cpuinfo().get("flags", "").split()


def physical_cores() -> int:
    """Cores behind the allowed hardware threads: two threads of one core share its FMA pipes."""
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    return len({text(siblings.format(cpu)) or cpu for cpu in CORES})


def caches() -> tuple[Cache, ...]:
    """Data caches that the allowed cores use, by level, all instances of a level added up."""
    levels: dict[int, dict[str, int]] = {}
    for cpu in CORES:
        for index in Path(f"/sys/devices/system/cpu/cpu{cpu}/cache").glob("index*"):
            facts = [text(index / name).strip() for name in ("type", "level", "size", "shared_cpu_list")]
            kind, level, size, shared = facts
            if all(facts) and kind != "Instruction":
                levels.setdefault(int(level), {})[shared] = int(size.removesuffix("K")) * 1024
    # Without /sys a last level is assumed that no CPU of today exceeds by much, so that "cold" stays true.
    known = tuple(Cache(f"l{level}", sum(sizes.values())) for level, sizes in sorted(levels.items()))
    return known or (Cache("llc", 64 << 20),)


def memory_total() -> int:
    """Bytes this process may use: the machine's, or its control group's where that is less; 0 where nobody tells."""
    total = _meminfo("MemTotal") or sysconf("SC_PHYS_PAGES") * sysconf("SC_PAGE_SIZE")
    limit = text("/sys/fs/cgroup/memory.max").strip()
    return min(total, int(limit)) if limit.isdecimal() else total


def memory_available() -> int:
    """Bytes that can be had without swapping; 0 where nobody tells."""
    return _meminfo("MemAvailable") or sysconf("SC_AVPHYS_PAGES") * sysconf("SC_PAGE_SIZE")


def _meminfo(name: str) -> int:
    line = re.search(rf"^{name}:\s*(\d+)", text("/proc/meminfo"), re.MULTILINE)
    return int(line[1]) * 1024 if line else 0


def sysconf(name: str) -> int:
    """os.sysconf; 0 where this system does not tell."""
    try:
        return os.sysconf(name)
    except (AttributeError, ValueError, OSError):
        return 0


def numa_node(bus: str, sysfs: Path = PCI) -> int:
    """The NUMA node that a PCI device hangs on. Raises LookupError where the kernel does not know."""
    path = sysfs / bus / "numa_node"
    try:
        node = int(path.read_text())
    except (OSError, ValueError) as error:
        raise LookupError(f"{path}: {getattr(error, 'strerror', error)}") from None
    if node < 0:
        raise LookupError(f"the kernel does not know the NUMA node of {bus}")
    return node


def pcie_root(bus: str, sysfs: Path = PCI) -> str:
    """The root of the PCIe tree that a device hangs on, as the kernel names it ("pci0000:16"). Raises LookupError.

    Devices below one root share what it leads to the host's memory; a virtual machine often shows all below one.
    """
    path = sysfs / bus
    try:
        parts = path.resolve(strict=True).parts
    except OSError as error:
        raise LookupError(f"{path}: {error.strerror}") from None
    root = next((part for part in parts if part.startswith("pci") and ":" in part), None)
    if root is None:
        raise LookupError(f"{path} leads to no root of the PCIe tree")
    return root


def near(numa_node: int | None) -> None:
    """Moves this process to the cores of a GPU's NUMA node, if known: host memory is then taken from there."""
    cores: set[int] = set()
    for part in filter(None, text(f"/sys/devices/system/node/node{numa_node}/cpulist").strip().split(",")):
        first, _, last = part.partition("-")
        cores |= set(range(int(first), int(last or first) + 1))
    if hasattr(os, "sched_setaffinity") and (allowed := cores & os.sched_getaffinity(0)):
        os.sched_setaffinity(0, allowed)


def cache_folder() -> Path:
    """The suite's folder in the user's cache; of a user without a home one that nobody can write."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))  # a relative one is to be ignored (XDG base directories)
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "ridgepoint"
    except RuntimeError:
        return Path("/nonexistent/ridgepoint")


def kept(path: Path) -> bytes | None:
    """What keep() put there; None if nothing is, or the digest behind it says that it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content, digest = data[:-_DIGEST], data[-_DIGEST:]
    return content if content and sha256(content).digest() == digest else None


def keep(path: Path, content: bytes) -> None:
    """Keeps it there, whole with a digest behind it or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replaced(path, content + sha256(content).digest())


@contextmanager
def inherited(settings: Mapping[str, str]) -> Iterator[None]:
    """Children that are spawned meanwhile find these settings in their environment; afterwards all is as it was."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
