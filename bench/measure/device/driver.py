"""What the CUDA driver says of its GPUs without torch, whose loading takes seconds that a sniff does not have.

Its order is the CUDA runtime's and so torch's: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are heeded below both
(docs.nvidia.com/cuda/cuda-driver-api, device management). No context is made.
"""

import ctypes
import importlib.util
import re
import sys
from contextlib import suppress
from pathlib import Path
from uuid import UUID

LIBRARY = "libcuda.so.1"
# Where a kernel shows that it has a driver: Linux, and Linux under Windows.
_SIGNS = ("/proc/driver/nvidia/version", "/dev/dxg")


def gpus(library: str = LIBRARY) -> list[tuple[str, str]] | None:
    """(UUID as "GPU-...", name) of each GPU that torch can use, in its order; none without a driver that answers.

    None where torch has to be asked: of a slice of a GPU, or if it may not fit this driver and can say why.
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
        found = [_gpu(driver, index) for index in range(count.value)]
    except (OSError, AttributeError):  # one that does not answer; a driver before CUDA 11.4 has no such name for UUIDs
        return None
    return None if any(" MIG " in name for _, name in found) else found


def built_for() -> int | None:
    """The CUDA major release that torch was built for, read and not imported; None if it is not here or has none."""
    with suppress(ImportError, OSError, ValueError):
        spec = importlib.util.find_spec("torch")
        for folder in (spec and spec.submodule_search_locations) or ():
            found = re.search(r"^cuda\b.*=\s*'(\d+)\.", Path(folder, "version.py").read_text(), re.MULTILINE)
            return int(found[1]) if found else None
    return None


def _gpu(driver: ctypes.CDLL, index: int) -> tuple[str, str]:
    device, uuid, name = ctypes.c_int(), (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(256)
    _asked(driver.cuDeviceGet, ctypes.byref(device), index)
    _asked(driver.cuDeviceGetUuid_v2, uuid, device)
    _asked(driver.cuDeviceGetName, name, len(name), device)
    return f"GPU-{UUID(bytes=bytes(uuid))}", name.value.decode(errors="replace")


def _asked(function, *arguments) -> None:
    """Raises OSError for an answer that is not CUDA_SUCCESS."""
    if code := function(*arguments):
        raise OSError(f"{function.__name__} answers {code}")
