"""Where the device code lies: kernels/ inside an installed wheel, or at the root of a checkout."""

from pathlib import Path

import bench
from bench.measure.device.protocol import DeviceError


def kernel_source(name: str, suffix: str) -> Path:
    """The file of device code `name`, suffix ".c" or ".cu". Raises DeviceError where neither folder has it."""
    package = Path(bench.__file__).resolve().parent
    folders = (package / "kernels", package.parent / "kernels")
    for folder in folders:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise DeviceError(f"no kernel source {name}{suffix} in {' or '.join(map(str, folders))}; reinstall ridgepoint")
