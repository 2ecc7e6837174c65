"""The life of a measuring process: open its device, run what the parent asks for, send what comes of it."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

from bench.device import (
    DeviceError,
    cpu,  # noqa: F401 - asks which cores there are, before torch loads and binds this thread to one of them
    open_device,
)
from bench.measure import Budget
from bench.probes import probes
from bench.schema import Measurement
from bench.session import Task, lost, session


@dataclass(frozen=True)
class Started:
    """A case is about to run; `record` is what is stored if it never comes back."""

    record: Measurement
    patience: float


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
    try:
        if place.meeting:
            _join(place)
        device = open_device(place.name, seed + place.rank, place.rank, place.world, place.ranks)
        if place.algorithms:
            device.info = replace(device.info, algorithms=place.algorithms)
        if pipe:
            pipe.send(("opened", device.info))
        while True:
            # every rank runs the same generators over the same info, or their searches would diverge
            names, history = device.agree(pipe.recv() if pipe else None)
            mine = [probes()[name] for name in names]
            for measurement in session(device, mine, budget, seed, history, _announcer(pipe, device.info.id)):
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
