"""The largest batch until memory is full: predicted from sizes, confirmed by allocating it, and read once.

A model's weights and then one sequence's keys and values after another are really allocated, up to a stated share of
what is free: half of it, 80 % by a budget that may take half of the memory anyway; on the host, which everything else
lives on too, a quarter, and no more than is made page by page in the time of a case. Every sequence is filled with a
value of its own and summed, which would show an allocation that is none. Allocating ends before the share is exceeded,
by the sizes or by what is counted from outside (the driver's free memory, the host's resident set), where memory is
refused, or where others take it meanwhile: what an allocator rounds up to makes the confirmed batch smaller than the
predicted.

One launch reads one sequence's keys and values, as attention does in a decode step, and the ring of launches is the
whole batch: its time times the batch is what a full memory adds to each step.

`largest` in the notes is a prediction for the memory that engines take (90 % of all), which nothing here confirms.
"""

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import work
from bench.measure.device.protocol import Device, OutOfMemory, Unsupported
from bench.measure.probes import Cases, probe
from bench.measure.probes.bandwidth import kernel
from bench.measure.workloads import compare_sum
from bench.schema import Case, DeviceInfo, Setup

CONTEXTS = (2048, 8192, 32768)
# Shares of the free memory: of a device's own, by ordinary and by long budgets, and of the host's.
SHARE, LONG, HOST = 0.5, 0.8, 0.25
# The most of the host's for a budget that lets a case take all memory; a quick one has a 64th of it.
_HOST_BYTES = 64 << 30
# What engines take of all memory by default (vLLM, gpu_memory_utilization).
_TAKEN = 0.9
_PIECE = 1 << 28  # weights are allocated in tensors of at most so many bytes


@dataclass(frozen=True)
class Resident:
    """What a model keeps in memory at two bytes an element: weights, and keys and values per token of context."""

    model: str
    weights: int
    kv_token: int

    def batch(self, size: float, context: int) -> int:
        """Sequences that fit into `size` bytes beside the weights."""
        return max(0, int((size - self.weights) // (self.kv_token * context)))


# From large to small; a device takes the first whose weights leave half of the share to sequences.
# Parameters and 2 * layers * KV heads * head dimension of the models' published configurations.
MODELS = (
    Resident("llama-3.1-8b", 2 * 8_030_261_248, 2 * 2 * 32 * 8 * 128),
    Resident("llama-3.2-1b", 2 * 1_235_814_400, 2 * 2 * 16 * 8 * 64),
    Resident("thin", 2 * 2**25, 2 * 2 * 16 * 4 * 64),
)


@probe(version=1, asked=True, title="KV cache capacity")
def capacity(info: DeviceInfo, budget) -> Cases:
    """Does the memory hold the batch that sizes predict, and what does reading all of it cost each step?

    Batch = (memory that may be taken − weights) / KV cache of a sequence; KV cache = 2 × layers × KV heads × head
    size × 2 B × context. A step's share = batch × time to read one sequence's cache.
    """
    share, most = _allowance(info, budget)
    room = min(share * info.memory_bytes, most)
    model = next((m for m in MODELS if m.weights <= room / 2), MODELS[-1])
    for context in budget.thin(CONTEXTS):
        size = model.kv_token * context
        params = {"model": model.model, "context": context, "mix": "read"}
        yield Case(
            params=params | {"weights_bytes": model.weights, "kv_bytes": size, "share": share},
            work=work.stream("read", size // 4),
            prepare=partial(_prepare, model, context, share, most),
            skip="" if model.batch(room, context) else _none(room, model, context),
        )


def _allowance(info: DeviceInfo, budget) -> tuple[float, float]:
    """What a case may take: a share of the free memory, and no more than so many bytes."""
    if not info.host_memory:  # the device is the host
        return HOST, budget.memory * _HOST_BYTES
    return LONG if budget.memory >= 0.5 else SHARE, math.inf


def _none(room: float, model: Resident, context: int) -> str:
    return f"{room / 2**30:.1f} GiB may be taken: no {context} tokens fit beside the weights of {model.model}"


def _prepare(model: Resident, context: int, share: float, most: float, device: Device) -> Setup:
    run, total, size = device.load(kernel("read", tiles=4)), device.empty(1, dtype="float64"), model.kv_token * context
    free, whole = memory(device, total)
    room = min(share * free, most)
    predicted, largest = model.batch(room, context), model.batch(_TAKEN * whole, context)
    notes = {"predicted": f"{predicted}", "largest": f"{largest}", "total_bytes": f"{whole:.0f}"}
    notes |= {"free_bytes": f"{free:.0f}", "room_bytes": f"{room:.0f}"}
    if device.info.simulated:
        launch = partial(run, device.empty(size // 4, dtype="float32"), total, size // 4, 1)
        return Setup([launch], notes=notes | {"stopped": "a simulated device has no memory to allocate"})
    if not predicted:
        raise Unsupported(_none(room, model, context))
    before, stopped = taken(device, total, free), "all that may be taken is"
    weights: list[Any] = []
    sequences: list[Any] = []
    try:
        for begin in range(0, model.weights, _PIECE):
            # a host hands out pages when they are first written
            weights.append(device.empty(min(_PIECE, model.weights - begin), dtype="int8").fill_(1))
        while len(sequences) < predicted:
            if taken(device, total, free) - before + size > room:
                stopped = "more is taken than the sizes add up to"
                break
            if memory(device, total)[0] - size < (free - room) / 2:
                stopped = "others took memory meanwhile"
                break
            sequences.append(device.empty(size // 4, dtype="float32").fill_(_value(len(sequences))))
    except OutOfMemory as error:
        stopped = str(error)
    if not sequences:
        raise Unsupported(f"no {context} tokens could be allocated beside the weights of {model.model}: {stopped}")
    counted = taken(device, total, free) - before
    notes |= {"confirmed": f"{len(sequences)}", "stopped": stopped}
    notes |= {"sizes_bytes": f"{model.weights + len(sequences) * size}", "counted_bytes": f"{counted:.0f}"}
    launches = [partial(run, sequence, total, size // 4, 1) for sequence in sequences]
    return Setup(launches, partial(_check, launches, weights), notes=notes)


def _value(index: int) -> float:
    """Neighbours differ, and sums of it are exact."""
    return (1 + index % 61) / 64


def memory(device: Device, tensor: Any) -> tuple[float, float]:
    """(bytes free now, bytes in all) of the memory that a tensor lies in, as its driver or the system reports them."""
    import torch

    if device.info.simulated:
        return device.info.memory_bytes, device.info.memory_bytes
    own = getattr(torch, tensor.device.type)
    if hasattr(own, "mem_get_info"):
        device.synchronize()
        own.empty_cache()  # what torch keeps for reuse is free too
        return own.mem_get_info(tensor.device)
    return host_free(), float(device.info.memory_bytes)


def taken(device: Device, tensor: Any, free: float) -> float:
    """Bytes taken, as counted from outside: what is free now of `free`, on the host what this process has resident."""
    import torch

    if hasattr(getattr(torch, tensor.device.type), "mem_get_info"):
        return free - memory(device, tensor)[0]
    with suppress(OSError):
        return float(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    return free - host_free()


def host_free() -> float:
    """Bytes that this process may still take of the host's, its control group's limit included."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = 1024.0 * int(lines["MemAvailable"].split()[0])
    with suppress(OSError, ValueError):  # no such group, or "max"
        limit, current = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, limit - current)
    return max(free, 0.0)


def _check(launches: list, weights: list) -> None:
    """Every sequence still holds its own value: memory that exists twice or not at all would not. Keeps the weights."""
    for index, launch in enumerate(launches):
        _, total, count, _ = launch.args
        total.zero_()
        launch()
        compare_sum(f"sequence {index} of {len(launches)}", total, count * _value(index))
