"""Cubins of the CUDA kernels: compiled by NVRTC for one architecture, kept in the user's cache, no GPU needed.

CuPy's low-level binding is used because its RawModule derives the architecture from the device, cannot say "90a" and
adds -ftz=true, which makes other instructions (cupy/cuda/compiler.py). A cubin, unlike PTX, needs no driver as new as
NVRTC; one for an architecture with suffix "a" runs on exactly that compute capability.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.measure.device.protocol import DeviceError

INSTALL = "pip install 'ridgepoint[cuda13]'"
OPTIONS = ("-std=c++17", "-default-device")

# Compute capability -> what to compile for. The suffix "a" opens what only that chip has (wgmma, tcgen05).
ARCHES = {
    (7, 0): "sm_70",
    (7, 5): "sm_75",
    (8, 0): "sm_80",
    (8, 6): "sm_86",
    (8, 7): "sm_87",
    (8, 9): "sm_89",
    (9, 0): "sm_90a",
    (10, 0): "sm_100a",
    (10, 3): "sm_103a",
    (11, 0): "sm_110a",
    (12, 0): "sm_120a",
    (12, 1): "sm_121a",
}

_DIGEST = sha256().digest_size
# ptxas says so in the log, and nowhere else, when it serialises a warpgroup's products: such a kernel measures nothing.
_SERIALISED = "C7514"


def arch(capability: tuple[int, int]) -> str:
    """The architecture to compile for on a compute capability: arch((9, 0)) is "sm_90a".

    Raises DeviceError for a GPU that the suite, or the installed NVRTC, does not know.
    """
    if capability not in ARCHES:
        known = ", ".join(f"{major}.{minor}" for major, minor in ARCHES)
        raise DeviceError(
            f"no architecture is known for compute capability {capability[0]}.{capability[1]}; known: {known}"
        )
    found = ARCHES[capability]
    if found == "sm_70" and _nvrtc().getVersion() >= (13, 0):
        raise DeviceError(f"NVRTC {version()} has dropped sm_70 (V100): pip install 'ridgepoint[cuda12]'")
    return found


def version() -> str:
    """NVRTC's version, with its build where it comes from a wheel ("13.0.88"). Raises DeviceError without NVRTC."""
    release = "{}.{}".format(*_nvrtc().getVersion())
    for package in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"):
        try:
            build = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        if build.startswith(f"{release}."):
            return build
    return release


@dataclass(frozen=True)
class Cubin:
    """Machine code, and the mangled name of each template instance that was asked for ("chains<float, 8>")."""

    code: bytes
    names: Mapping[str, str]


def expressions(function: str) -> tuple[str, ...]:
    """A kernel's function as NVRTC wants to be told of it: template instances have to be named."""
    return (function,) if "<" in function else ()


def cubin(source: Path, arch: str, defines: tuple[tuple[str, Any], ...] = (), instances: tuple[str, ...] = ()) -> Cubin:
    """The machine code of one .cu file for one architecture, from the cache if it was compiled before.

    instances: templates to instantiate. Raises DeviceError: with the compiler's message, which names the file and the
    line, where it does not compile; with what to install where NVRTC is missing.
    """
    text = source.read_text(encoding="utf-8")
    options = (f"-arch={arch}", *OPTIONS, *(f"-D{name}={value}" for name, value in defines))
    key = sha256("\0".join((text, *options, *instances, version())).encode()).hexdigest()[:32]
    path = _cache() / f"{source.stem}-{arch}-{key}.cubin"
    return _cached(path) or _kept(path, _compiled(source, text, options, instances))


def _compiled(source: Path, text: str, options: tuple[str, ...], instances: tuple[str, ...]) -> Cubin:
    nvrtc = _nvrtc()
    # the file's own path is the program's name, so that messages point at the real file and line
    program = nvrtc.createProgram(text, str(source), (), ())
    try:
        for instance in instances:
            nvrtc.addNameExpression(program, instance)
        try:
            nvrtc.compileProgram(program, (*options, *(f"-I{folder}" for folder in _includes())))
        except nvrtc.NVRTCError as error:
            log = nvrtc.getProgramLog(program).strip("\0\n ")
            message = f"{source} does not compile with NVRTC {version()} ({options[0]}):\n{log or error}{_advice(log)}"
            raise DeviceError(message) from None
        log = nvrtc.getProgramLog(program)
        if _SERIALISED in log:
            raise DeviceError(f"{source}: ptxas serialised the tensor instructions ({_SERIALISED}):\n{log.strip()}")
        # CuPy drops the last byte, as if a cubin were a string that ends in zero
        names = {instance: nvrtc.getLoweredName(program, instance) for instance in instances}
        return Cubin(nvrtc.getCUBIN(program) + b"\0", names)
    finally:
        nvrtc.destroyProgram(program)


def _advice(log: str) -> str:
    if re.search(r'(cannot|could not) open source file "cuda_', log):
        return f"\nCUDA's headers (package nvidia-cuda-runtime) are missing: {INSTALL}"
    return ""


@lru_cache
def _nvrtc() -> Any:
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()  # CuPy itself imports without the library that it binds
    except (ImportError, OSError, RuntimeError) as error:
        # RuntimeError also covers the loader's own classes, which derive from it
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DeviceError(f"CUDA kernels need CuPy and NVRTC: {INSTALL} ({reason})") from None
    return nvrtc


def _includes() -> list[Path]:
    """Folders with CUDA's headers among the installed nvidia packages, toolkit 13's layout before 12's."""
    try:
        import nvidia
    except ImportError:
        return []
    folders = [Path(root) / part / "include" for part in ("cu13", "cuda_runtime") for root in nvidia.__path__]
    return [folder for folder in folders if (folder / "cuda_fp16.h").is_file()][:1]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ridgepoint"


def _cached(path: Path) -> Cubin | None:
    """A cubin that was kept; None if there is none or its digest says that it is damaged.

    The file: one line of JSON with the names, the code, the digest of both.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content, digest = data[:-_DIGEST], data[-_DIGEST:]
    if sha256(content).digest() != digest:
        return None
    names, _, code = content.partition(b"\n")
    return Cubin(code, json.loads(names))


def _kept(path: Path, cubin: Cubin) -> Cubin:
    """Keeps a cubin, whole or not at all; a cache that cannot be written only costs the next run a compilation."""
    content = json.dumps(dict(cubin.names)).encode() + b"\n" + cubin.code
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}-", suffix=".tmp")
        scratch = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content + sha256(content).digest())
        scratch.replace(path)
    except OSError:
        if scratch:
            scratch.unlink(missing_ok=True)
    return cubin
