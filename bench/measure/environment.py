"""Where a Run was made: host, system, library versions, the suite's commit."""

import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import bench
from bench.measure.device.host import installed, os_name
from bench.measure.probes import Probe
from bench.schema import DeviceInfo, Environment
from bench.store import new_run_id, utc_now

_LIBRARIES = (
    *("torch", "cupy-cuda13x", "cupy-cuda12x", "nvidia-ml-py", "nvidia-cuda-nvrtc", "numpy"),
    *("nvidia-nccl-cu13", "nvidia-nccl-cu12", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12"),
)


def environment(
    devices: Sequence[DeviceInfo], command: Sequence[str], budget: str, seed: int, probes: Sequence[Probe] = ()
) -> Environment:
    """The environment of a Run of these probes that starts now."""
    first = devices[0]
    count = f"-x{len(devices)}" if len(devices) > 1 else ""
    system = {"os": os_name(), "kernel": platform.release(), "machine": platform.machine()}
    system["python"] = platform.python_version()
    return Environment(
        suite=bench.__version__,
        run_id=new_run_id(),
        started=utc_now(),
        command=tuple(command),
        budget=budget,
        seed=seed,
        product=first.product + count,
        simulated=any(device.simulated for device in devices),
        devices=tuple(devices),
        host=socket.gethostname(),
        commit=_commit(),
        system=system,
        libraries={name: version for name in _LIBRARIES if (version := installed(name))},
        probes={probe.name: probe.text for probe in probes},
    )


def command_line() -> tuple[str, ...]:
    """The command to type again, however the suite was started."""
    return ("python", "-m", "bench", *sys.argv[1:])


def _commit() -> str:
    """The commit of the checkout that this package runs from; "" for an installed one."""
    folder = Path(bench.__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return ""
    asked = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
