"""The life of a measuring process: open its device, run what the parent asks for, send what comes of it."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

from bench.budget import Budget
from bench.device import (
    Device,
    DeviceError,
    Unsupported,
    cpu,  # noqa: F401 - asks which cores there are, before torch loads and binds this thread to one of them
    open_device,
)
from bench.passes import Task
from bench.probes import Probe, probes
from bench.schema import Measurement
from bench.session import kernels, lost, session


@dataclass(frozen=True)
class Started:
    """A case is about to run; `record` is what is stored if it never comes back."""

    record: Measurement
    patience: float


@dataclass(frozen=True)
class Compiled:
    """How many kernels a Run needs and how long they took to be there (seconds); kept ones take next to none."""

    kernels: int
    seconds: float


@dataclass(frozen=True)
class Place:
    """A child's place in its group: its device, its rank of `world`, and where the ranks meet ("" for a lone one).

    ranks: devices of this kind in the Run. algorithms: the only ones that this group runs, all for none.
    """

    name: str
    rank: int
    world: int
    ranks: int
    meeting: str = ""
    algorithms: tuple[str, ...] = ()


def live(pipe: Connection | None, place: Place, budget: Budget, seed: int) -> None:
    """The whole life of a measuring process. Only rank 0 has a pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    begun = time.perf_counter()
    try:
        with suppress(ImportError):  # who opens the device says what is missing
            import torch  # noqa: F401
        imported = time.perf_counter()
        if place.meeting:
            _join(place)
        device = open_device(place.name, seed + place.rank, place.rank, place.world, place.ranks)
        if place.algorithms:
            device.info = replace(device.info, algorithms=place.algorithms)
        if pipe:
            costs = {"importing torch": imported - begun, "opening the device": time.perf_counter() - imported}
            pipe.send(("opened", (device.info, costs)))
        while True:
            # every rank runs the same generators over the same info, or their searches would diverge
            names, history, pinned = device.agree(pipe.recv() if pipe else None)
            mine = [probes()[name] for name in names]
            if history is None:
                pipe.send(("compiled", _compiled(device, mine, budget)))
                continue
            announce = _announcer(pipe, device.info.id)
            for measurement in session(device, mine, budget, seed, history, announce, pinned):
                if pipe:
                    pipe.send(("measured", measurement))
            if pipe:
                pipe.send(("done", None))
    except DeviceError as error:
        if pipe:
            pipe.send(("failed", str(error)))
    except (EOFError, BrokenPipeError):
        pass  # the parent is gone, and with it the reason to go on
    except Exception as error:
        # what poisons a process (a device-side fault, a bug of ours): the parent records it against the case
        if pipe:
            pipe.send(
                (
                    "broken",
                    f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else 'no message'}",
                )
            )
        os._exit(70)  # a poisoned context may hang in its own clean-up


def _compiled(device: Device, chosen: Sequence[Probe], budget: Budget) -> Compiled:
    """Makes everything ready that a Run of these probes would compile."""
    needed = kernels(device.info, chosen, budget)
    begun = time.perf_counter()
    for kernel in needed:
        with suppress(Unsupported, DeviceError):  # the Run says so against the case
            device.load(kernel)
    return Compiled(len(needed), time.perf_counter() - begun)


def _announcer(pipe: Connection | None, device: str) -> Callable[[Task], None]:
    if not pipe:
        return lambda task: None
    return lambda task: pipe.send(("started", Started(lost(task, device, ""), task.patience)))


def _join(place: Place) -> None:
    import datetime

    import torch.distributed as dist

    backend = "gloo" if place.name == "cpu" else "cpu:gloo,cuda:nccl"
    if place.name != "cpu":
        import torch

        torch.cuda.set_device(int(place.name.removeprefix("cuda:")))
    limit = datetime.timedelta(seconds=120)
    dist.init_process_group(
        backend, init_method=f"file://{place.meeting}", rank=place.rank, world_size=place.world, timeout=limit
    )
