"""Kernels of the CPU: compiled for this very machine at first use, kept in the user's cache, called through ctypes.

A library belongs to its source, flags, defines, compiler and CPU: change one and it is compiled again.
"""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.measure.device.host import cache_folder, keep, kept, text
from bench.measure.device.protocol import DeviceError, Kernel, Unsupported, kernel_source

# No -ffast-math: it would let the compiler fold the very chains that are measured.
FLAGS = ("-O3", "-std=gnu11", "-fopenmp", "-shared", "-fPIC", "-fno-math-errno", "-ffp-contract=fast")
# Each is used where the compiler accepts it. -mcpu=native is Arm's: it tunes too, which -march=native there does not.
NATIVE = ("-march=native", "-mcpu=native", "-mprefer-vector-width=512")
# Lines of /proc/cpuinfo that tell one CPU from another, on x86 and on Arm; the others change by the minute.
CPU = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
CPU += ("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features")
ARGUMENTS = {int: ctypes.c_longlong, float: ctypes.c_double}


@dataclass(frozen=True)
class Compiler:
    """A C compiler of this system: its executable and the first line of its --version."""

    path: Path
    version: str


def compiler() -> Compiler | None:
    """The system's C compiler: the first of cc, gcc and clang on the PATH that answers; None if there is none."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path and (version := _version(path)):
            return Compiler(Path(path), version)
    return None


def build(source: Path, defines: tuple[tuple[str, Any], ...] = ()) -> Path:
    """The shared library of one C file, from the cache or compiled. Raises DeviceError with what the compiler says."""
    cc = compiler()
    if cc is None:
        raise DeviceError("no C compiler on the PATH (cc, gcc or clang); install one, such as gcc")
    options = (*FLAGS, *(f"-D{name}={value}" for name, value in defines))
    identity = "\0".join((*options, *NATIVE, str(cc.path), cc.version, _cpu()))
    name = f"{source.stem}-{sha256(source.read_bytes() + identity.encode()).hexdigest()[:32]}.so"
    code = None
    for folder in _folders():
        library = folder / name
        if kept(library):
            return library
        code = code or _compiled(cc, source, options)
        with suppress(OSError):
            keep(library, code)  # a loader ignores the digest behind the ELF
            return library
    raise DeviceError(f"no folder for compiled kernels can be written, tried {' and '.join(map(str, _folders()))}")


def function(kernel: Kernel) -> Callable[..., None]:
    """The host body of a kernel as a Python function of tensors, ints and floats, in the order of the C signature.

    The types are taken as they come: where C has a double, pass a float. Tensors are passed by address, unchecked.
    Raises Unsupported where this machine's build lacks the function, DeviceError as `build` does.
    """
    library = _library(kernel.name, kernel.function, kernel.defines)
    signatures: dict[tuple[type, ...], Callable[..., None]] = {}

    def launch(*arguments: Any) -> None:
        types = tuple(map(type, arguments))
        call = signatures.get(types)
        if call is None:
            call = library[kernel.function]  # a fresh pointer: getattr's is shared, and so would be its argtypes
            call.argtypes = [ARGUMENTS.get(kind, ctypes.c_void_p) for kind in types]
            call.restype = None
            signatures[types] = call
        call(*[argument if type(argument) in ARGUMENTS else argument.data_ptr() for argument in arguments])

    return launch


def integer(name: str, symbol: str) -> int:
    """What only compiled code knows, as lanes: `long long symbol(void)` of kernels/NAME.c. Raises as `function`."""
    call = _library(name, symbol, ())[symbol]
    call.restype = ctypes.c_longlong
    return call()


def _library(name: str, symbol: str, defines: tuple[tuple[str, Any], ...]) -> ctypes.CDLL:
    source = kernel_source(name, ".c")
    library = _load(build(source, defines))
    if not hasattr(library, symbol):
        raise Unsupported(f"{source.name} has no {symbol} for this CPU")
    return library


def _compiled(cc: Compiler, source: Path, options: tuple[str, ...]) -> bytes:
    native = [flag for flag in NATIVE if _accepts(cc, flag)]
    with tempfile.TemporaryDirectory(prefix="ridgepoint-") as folder:
        library = Path(folder, "library.so")
        done = _run(cc.path, *options, *native, source, "-o", library)
        if done.returncode:
            raise DeviceError(f"{source} does not compile with {cc.version}:\n{_gist(done.stderr)}")
        return library.read_bytes()


def _gist(message: str) -> str:
    """A compiler's message from its first error on, a dozen lines at most."""
    lines = message.strip().splitlines()
    first = next((i for i, line in enumerate(lines) if re.search(r"\berror\b|undefined reference", line)), 0)
    return "\n".join(lines[first : first + 12])


@lru_cache
def _version(path: str) -> str:
    try:
        done = _run(path, "--version")
    except OSError:
        return ""
    return done.stdout.partition("\n")[0] if done.returncode == 0 else ""


@lru_cache
def _accepts(cc: Compiler, flag: str) -> bool:
    return _run(cc.path, "-Werror", flag, "-fsyntax-only", "-x", "c", os.devnull).returncode == 0


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    english = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", env=english)


@lru_cache
def _cpu() -> str:
    lines = text("/proc/cpuinfo").partition("\n\n")[0].splitlines()
    told = "\n".join(line for line in lines if line.partition(":")[0].strip() in CPU)
    return told if lines else platform.machine() + platform.processor()


def _folders() -> Iterator[Path]:
    """Where libraries may lie: the user's cache; where that cannot be written, a folder that goes with the process."""
    yield cache_folder()
    yield Path(_private().name)


@lru_cache
def _private() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ridgepoint-")


@lru_cache
def _load(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise DeviceError(f"{library} cannot be loaded: {error}") from None
