"""Cubins of the CUDA kernels: compiled by NVRTC for one architecture, kept in the user's cache, no GPU needed.

CuPy's low-level binding is used because its RawModule derives the architecture from the device, cannot say "90a" and
adds -ftz=true, which makes other instructions (cupy/cuda/compiler.py). A cubin, unlike PTX, needs no driver as new as
NVRTC; one for an architecture with suffix "a" runs on exactly that compute capability.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.measure.device.host import cache_folder, installed, keep, kept
from bench.measure.device.protocol import DeviceError

INSTALL = "pip install 'ridgepoint[cuda13]'"
OPTIONS = ("-std=c++17", "-default-device")

# Compute capability -> what to compile for. The suffix "a" opens what only that chip has (wgmma, tcgen05).
ARCHES = {(7, 0): "sm_70", (7, 5): "sm_75", (8, 0): "sm_80", (8, 6): "sm_86", (8, 7): "sm_87", (8, 9): "sm_89"}
ARCHES |= {(9, 0): "sm_90a", (10, 0): "sm_100a", (10, 3): "sm_103a", (11, 0): "sm_110a"}
ARCHES |= {(12, 0): "sm_120a", (12, 1): "sm_121a"}

# ptxas says so in the log, and nowhere else, when it serialises a warpgroup's products: such a kernel measures nothing.
_SERIALISED = "C7514"


def arch(capability: tuple[int, int]) -> str:
    """arch((9, 0)) is "sm_90a". Raises DeviceError for a GPU that the suite, or the installed NVRTC, does not know."""
    if capability not in ARCHES:
        asked, *known = (f"{major}.{minor}" for major, minor in (capability, *ARCHES))
        raise DeviceError(f"no architecture is known for compute capability {asked}; known: {', '.join(known)}")
    if capability == (7, 0) and _nvrtc().getVersion() >= (13, 0):
        raise DeviceError(f"NVRTC {version()} has dropped sm_70 (V100): pip install 'ridgepoint[cuda12]'")
    return ARCHES[capability]


def version() -> str:
    """NVRTC's version, with its build where it comes from a wheel ("13.0.88"). Raises DeviceError without NVRTC."""
    release = "{}.{}".format(*_nvrtc().getVersion())
    builds = map(installed, ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"))
    return next((build for build in builds if build.startswith(f"{release}.")), release)


@dataclass(frozen=True)
class Cubin:
    """Machine code, and the mangled name of each template instance that was asked for ("chains<float, 8>")."""

    code: bytes
    names: Mapping[str, str]


def cubin(source: Path, arch: str, defines: tuple[tuple[str, Any], ...] = (), instances: tuple[str, ...] = ()) -> Cubin:
    """The machine code of one .cu file for one architecture, from the cache if it was compiled before.

    instances: templates to instantiate, which NVRTC has to be told of by name ("chains<float, 8>"). Raises DeviceError:
    with the compiler's message, which names file and line; with what to install where NVRTC is missing.
    """
    text = source.read_text(encoding="utf-8")
    options = (f"-arch={arch}", *OPTIONS, *(f"-D{name}={value}" for name, value in defines))
    key = sha256("\0".join((text, *options, *instances, version())).encode()).hexdigest()[:32]
    path = cache_folder() / f"{source.stem}-{arch}-{key}.cubin"
    # the file: a line of JSON with the names, then the code
    if content := kept(path):
        names, _, code = content.partition(b"\n")
        return Cubin(code, json.loads(names))
    made = _compiled(source, text, options, instances)
    with suppress(OSError):  # a cache that cannot be written only costs the next run a compilation
        keep(path, json.dumps(dict(made.names)).encode() + b"\n" + made.code)
    return made


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
            message = f"{source} does not compile with NVRTC {version()} ({options[0]}):\n{log or error}"
            if re.search(r'(cannot|could not) open source file "cuda_', log):
                message += f"\nCUDA's headers (package nvidia-cuda-runtime) are missing: {INSTALL}"
            raise DeviceError(message) from None
        log = nvrtc.getProgramLog(program)
        if _SERIALISED in log:
            raise DeviceError(f"{source}: ptxas serialised the tensor instructions ({_SERIALISED}):\n{log.strip()}")
        # CuPy drops the last byte, as if a cubin were a string that ends in zero
        names = {instance: nvrtc.getLoweredName(program, instance) for instance in instances}
        return Cubin(nvrtc.getCUBIN(program) + b"\0", names)
    finally:
        nvrtc.destroyProgram(program)


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
