"""The life of a measuring process: open its device, run what the parent asks for, send what comes of it."""

import math
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Any

from bench.measure.budget import Budget
from bench.measure.device import (
    cpu,  # noqa: F401 - asks which cores there are, before torch loads and binds this thread to one of them
)
from bench.measure.device.open import open_device
from bench.measure.device.protocol import CaptureBroken, Device, DeviceError, Unsupported
from bench.measure.passes import Task
from bench.measure.probes import Cases, Probe, probes
from bench.measure.session import NOTHING_SELECTED, CaseSelection, Told, kernels, lost, session
from bench.measure.verify import brief
from bench.schema import Case, DeviceInfo, Measurement

# How a child ends that cannot go on, whatever its rank: never with 0, which a parent might take for its work's end.
FAILED, BROKEN = 69, 70
# Seconds that devices wait for one another before they copy at once; one that skips the case would be waited for.
_COMPANY = 10.0

# Cases of one kind go into a graph or not alike: (probe, family).
Kind = tuple[str, str]


@dataclass(frozen=True)
class Started:
    """A case is about to run; `record` is what is stored if it never comes back, `kind` what it is one of."""

    record: Measurement
    patience: float
    kind: Kind


@dataclass(frozen=True)
class Compiled:
    """How many kernels a Run needs and how long they took to be there (seconds); kept ones take next to none."""

    kernels: int
    seconds: float


@dataclass(frozen=True)
class Place:
    """A child's place in its group."""

    name: str  # of its device
    rank: int
    world: int
    ranks: int  # devices of this kind in the Run
    meeting: str = ""  # the file where the ranks meet, "" for a lone one
    algorithms: tuple[str, ...] = ()  # the only ones that this group runs, all for none
    meet: Barrier | None = None  # where groups that share host links wait for each other, None for a lone one


@dataclass(frozen=True)
class Ask:
    """What a parent asks of its children."""

    names: Sequence[str]  # of probes
    history: Mapping = field(default_factory=dict)  # what was done before
    pinned: CaseSelection = NOTHING_SELECTED  # what to follow
    queued: Collection[Kind] = ()  # kinds of cases that no graph may take, because an attempt broke a process
    company: str = ""  # as DeviceInfo has it
    seconds: float = math.inf  # how long it may take
    whole: float = math.inf  # the same with what went before a restart
    verify: bool = False  # try the instrument first
    compile: bool = False  # make everything ready and measure nothing


def main(pipe: Connection, place: Place, budget: Budget, seed: int) -> None:
    """The whole life of a measuring process. Rank 0 speaks for its group; any rank says why it cannot go on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        _work(pipe, place, budget, seed)
    except DeviceError as error:
        _end(pipe, "failed", str(error), FAILED)
    except CaptureBroken as error:
        _end(pipe, "uncapturable", str(error), BROKEN)
    except BaseException as error:
        # what poisons a process (a device-side fault, a bug of ours): the parent records it against the case
        text = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        _end(pipe, "broken", f"{type(error).__name__}: {text}", BROKEN)


def _end(pipe: Connection, kind: str, reason: str, code: int) -> None:
    """Says why, and when, since peers fail of it in turn; and goes, as a poisoned context may hang in its clean-up."""
    with suppress(OSError):  # the parent is gone, and with it the reason to say anything
        pipe.send((kind, (time.monotonic(), reason)))
    os._exit(code)


def _work(pipe: Connection, place: Place, budget: Budget, seed: int) -> None:
    """Does what is asked until the parent is gone."""
    begun = time.perf_counter()
    with suppress(ImportError):  # who opens the device says what is missing
        import torch  # noqa: F401
    imported = time.perf_counter()
    if place.meeting:
        _join(place)
    device = open_device(place.name, seed + place.rank, place.rank, place.world, place.ranks)
    if place.algorithms:
        device.info = replace(device.info, algorithms=place.algorithms)
    device.info = _shared(device)
    speaks = place.rank == 0
    if speaks:
        costs = {"importing torch": imported - begun, "opening the device": time.perf_counter() - imported}
        pipe.send(("opened", (device.info, costs)))
    while True:
        try:
            request = device.agree(pipe.recv() if speaks else None)
        except EOFError:
            return
        asked = device.now()
        mine = [_queueing(probes()[name], request.queued) for name in request.names]
        device.info = replace(device.info, company=request.company)
        if request.compile:
            pipe.send(("compiled", _compiled(device, mine, budget)))
            continue
        if request.company and place.meet:
            mine = [meeting(each, place.meet) for each in mine]
        if request.verify:
            pipe.send(("checked", tuple(brief(device))))
        announce = _announcer(pipe, device.info.id) if speaks else lambda task: None
        left = request.seconds - (device.now() - asked)
        history, pinned, whole = request.history, request.pinned, request.whole
        steps = Told(session(device, mine, budget, seed, history, announce, pinned, left, whole))
        for measurement in steps:
            if speaks:
                pipe.send(("measured", measurement))
        if speaks:
            pipe.send(("done", steps.unreached))


def _shared(device: Device) -> DeviceInfo:
    """What every rank takes its device for: rank 0's facts, with no more memory than each has.

    Ranks run the same generators; over different facts these would describe different cases, and one rank would wait
    in a collective that no other calls.
    """
    info = device.agree(device.info)
    return replace(info, memory_bytes=min(device.gather(device.info.memory_bytes)))


def _queueing(probe: Probe, kinds: Collection[Kind]) -> Probe:
    """The probe, with cases of these kinds kept out of graphs, and what insists on a graph left out."""

    def changed(case: Case) -> Case:
        if _kind(probe.name, case) not in kinds:
            return case
        if case.timing == "graph":
            return replace(case, skip=case.skip or "these launches cannot be captured into a graph")
        return replace(case, timing=case.timing or "queued")

    return _changed(probe, changed) if any(name == probe.name for name, _ in kinds) else probe


def meeting(probe: Probe, barrier: Barrier) -> Probe:
    """The probe, with devices that wait for one another when a case of theirs is ready."""

    def changed(case: Case) -> Case:
        prepare = case.prepare

        def met(device: Device) -> Any:
            made = prepare(device)
            try:
                barrier.wait(_COMPANY)
            except BrokenBarrierError:  # one of them is gone or late: what is measured now is no company's
                raise Unsupported("not every device was there to copy at once") from None
            return made

        return replace(case, prepare=met) if prepare and not case.skip else case

    return _changed(probe, changed)


def _changed(probe: Probe, change: Callable[[Case], Case]) -> Probe:
    def cases(info: DeviceInfo, budget: Budget) -> Cases:
        found, seconds = probe.cases(info, budget), None
        while True:
            try:
                case = found.send(seconds)
            except StopIteration:
                return
            seconds = yield change(case)

    return replace(probe, cases=cases)


def _kind(probe: str, case: Case) -> Kind:
    return probe, case.family or probe


def _compiled(device: Device, chosen: Sequence[Probe], budget: Budget) -> Compiled:
    """Makes everything ready that a Run of these probes would compile."""
    needed = kernels(device.info, chosen, budget)
    begun = time.perf_counter()
    for kernel in needed:
        with suppress(Unsupported, DeviceError):  # the Run says so against the case
            device.load(kernel)
    return Compiled(len(needed), time.perf_counter() - begun)


def _announcer(pipe: Connection, device: str) -> Callable[[Task], None]:
    def announce(task: Task) -> None:
        pipe.send(("started", Started(lost(task, device, ""), task.patience, _kind(task.probe.name, task.case))))

    return announce


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
