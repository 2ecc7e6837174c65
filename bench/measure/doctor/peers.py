"""How the GPUs of one machine reach each other: what an all-reduce between them will go over."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from typing import Any

from bench.measure.doctor.finding import Finding

# The nearest common ancestor of two GPUs, as nvidia-smi topo -m abbreviates it.
_PATHS = {
    0: "on one board",
    10: "over one PCIe switch (PIX)",
    20: "over several PCIe switches (PXB)",
    30: "over a host bridge (PHB)",
    40: "over the CPU of one NUMA node (NODE)",
    50: "over the link between CPUs (SYS)",
}
_NVLINK = "over NVLink"


def findings(uuids: Sequence[str]) -> list[Finding]:
    """One finding about all pairs of these GPUs; none for a lone GPU, or where the driver does not tell."""
    paths = Counter(_paths(uuids))
    if not paths:
        return []
    total = sum(paths.values())
    text = ", ".join(f"{count} {'pair' if count == 1 else 'pairs'} {path}" for path, count in paths.most_common())
    if set(paths) == {_NVLINK} or (len(paths) == 1 and not any("no peer" in path for path in paths)):
        return [Finding("peers", f"every pair of {len(uuids)} GPUs {next(iter(paths))}" if total > 1 else text)]
    fix = "see `nvidia-smi topo -m`; without peer access look at the IOMMU, ACS and, in a container, shared memory"
    return [Finding("peers", f"{text}: the slowest pair bounds an all-reduce", "note", fix)]


def _paths(uuids: Sequence[str]) -> list[str]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, pynvml.NVMLError):
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
        return [_path(pynvml, *pair) for pair in combinations(handles, 2)]
    except pynvml.NVMLError:
        return []
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _path(nvml: Any, one: Any, other: Any) -> str:
    if _can(nvml, one, other, nvml.NVML_P2P_CAPS_INDEX_NVLINK):
        return _NVLINK
    path = _PATHS.get(nvml.nvmlDeviceGetTopologyCommonAncestor(one, other), "over a path of no known name")
    # (0,): a trailing comma in pynvml made a tuple of this constant
    return path if _can(nvml, one, other, 0) else f"{path}, no peer access"


def _can(nvml: Any, one: Any, other: Any, capability: int) -> bool:
    return nvml.nvmlDeviceGetP2PStatus(one, other, capability) == nvml.NVML_P2P_STATUS_OK
