"""One supervised process per device: a crash or a hang costs one case, never the Run.

Children measure and send what they have; this process watches them and is the only one that writes. Children that die
are started again with the history of what was done, and go on behind the case that killed them.
"""

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from bench import units
from bench.budget import BUDGETS, Budget
from bench.child import Compiled, Place, Started, live
from bench.device import DeviceError, cpu
from bench.probes import Probe
from bench.schema import DeviceInfo, Key, Measurement
from bench.session import NOTHING_PINNED, Pinned, session

# Opening a device loads torch, a driver and maybe compiles; a cold file system on a busy node takes its time.
_OPENING = 300.0
_MAX_CRASHES = 8


@dataclass(frozen=True)
class Opened:
    """A device answered. costs: seconds that this took, by what took them."""

    info: DeviceInfo
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    measurement: Measurement


@dataclass(frozen=True)
class Failed:
    """A whole device cannot go on."""

    device: str
    reason: str


Event = Opened | Started | Measured | Failed


# Which cases to follow, once it is known what the devices are.
Choose = Callable[[Sequence[DeviceInfo]], Pinned]


def run(
    devices: Sequence[str],
    chosen: Sequence[Probe],
    budget: Budget,
    seed: int,
    choose: Choose = lambda infos: NOTHING_PINNED,
) -> Iterator[Event]:
    """Events of a whole Run, every device's Opened first. Closing the iterator ends every child."""
    if devices[0].startswith("sim:"):
        yield from _simulated(devices[0], chosen, budget, seed, choose)
        return
    # GPUs run at once: they share nothing but the host. The host's own cores are measured when nothing else runs.
    gpus = [name for name in devices if name != "cpu"]
    groups = [_alone(name, len(gpus), budget, seed) for name in gpus]
    host = [_alone("cpu", 1, budget, seed)] if "cpu" in devices else []
    with _ended(groups + host):
        yield from _opened(groups + host)
        pinned = choose([group.info for group in groups + host if group.info])
        for group in groups + host:
            group.pinned = pinned
        # a collective on a device without peers is one skip, which the device says itself
        for members in (groups, host):
            yield from _watch(members, lambda info: _names(chosen, info, alone=False))
        for group in groups + host:
            yield from _watch([group], lambda info: _names(chosen, info, alone=True))
        ready = [group.info for group in groups + host if group.info]
    together = [p.name for p in chosen if p.together]
    if together:
        for group in _gangs(ready, budget, seed):
            group.pinned = _of(group, pinned)
            with _ended([group]):
                # the parent knows these devices already; a second Opened would only repeat it
                yield from (e for e in _opened([group]) if isinstance(e, Failed))
                yield from _watch([group], lambda info: together)


def _names(chosen: Sequence[Probe], info: DeviceInfo, alone: bool) -> list[str]:
    return [p.name for p in chosen if p.alone == alone and (not p.together or info.ranks < 2)]


def opened(devices: Sequence[str]) -> list[Opened]:
    """What a Run on these devices would see, without measuring. Raises DeviceError where one does not answer."""
    found = []
    for event in run(devices, [], BUDGETS["quick"], 0):
        if isinstance(event, Failed):
            raise DeviceError(f"{event.device}: {event.reason}")
        if isinstance(event, Opened):
            found.append(event)
    return found


def compiled(device: str, chosen: Sequence[Probe], budget: Budget) -> Compiled | None:
    """Compiles what a Run on a device would need, and keeps it; None where nothing is compiled or none can be."""
    if device.startswith("sim:"):
        return None
    group = _alone(device, 1, budget, 0)
    with _ended([group]):
        if any(isinstance(event, Failed) for event in _opened([group])):
            return None
        with suppress(OSError, EOFError):
            group.pipe.send(([p.name for p in chosen if not p.together], None, NOTHING_PINNED))
            kind, value = group.pipe.recv() if group.pipe.poll(_OPENING) else ("", None)
            return value if kind == "compiled" else None
    return None


def _simulated(text: str, chosen: Sequence[Probe], budget: Budget, seed: int, choose: Choose) -> Iterator[Event]:
    from bench.device.sim import open_simulated

    devices = open_simulated(text)
    yield from (Opened(device.info) for device in devices)
    pinned = choose([device.info for device in devices])
    peers = tuple(device.info.id for device in devices)
    for device in devices:
        for measurement in session(device, [p for p in chosen if not p.together], budget, seed, pinned=pinned):
            yield Measured(measurement)
    for measurement in session(devices[0], [p for p in chosen if p.together], budget, seed, pinned=pinned):
        yield Measured(replace(measurement, devices=peers if len(peers) > 1 else ()))


@dataclass
class _Group:
    """The processes that act as one: a single device, or the ranks of a collective. Rank 0 speaks for them."""

    device: str
    names: Sequence[str]
    ranks: int
    budget: Budget
    seed: int
    environment: Mapping[str, str]
    peers: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    processes: list[Any] = field(default_factory=list)
    pipe: Connection | None = None
    info: DeviceInfo | None = None
    task: Started | None = None
    heard: float = 0.0
    crashes: int = 0
    history: dict = field(default_factory=dict)
    pinned: Pinned = NOTHING_PINNED
    folder: str = ""

    def start(self) -> None:
        """Raises nothing: a child that cannot open its device says so through the pipe."""
        context = multiprocessing.get_context("spawn")
        self.pipe, child = context.Pipe()
        world = len(self.names)
        # a file that does not exist yet is where the ranks find each other: no port to be taken by someone else
        folder = tempfile.mkdtemp(prefix="ridgepoint-ranks-") if self.peers else ""
        meeting = f"{folder}/meeting" if folder else ""
        self.folder = folder
        with _environment(self.environment):
            self.processes = [
                context.Process(
                    target=live,
                    args=(child if rank == 0 else None, Place(name, rank, world, self.ranks, meeting, self.algorithms)),
                    kwargs={"budget": self.budget, "seed": self.seed},
                    daemon=True,
                )
                for rank, name in enumerate(self.names)
            ]
            for process in self.processes:
                process.start()
        child.close()
        self.task, self.heard = None, time.monotonic()

    def begin(self, probes: list[str]) -> None:
        with suppress(OSError):  # a child that died is found by the watch
            self.pipe.send((probes, dict(self.history), self.pinned))
        self.heard = time.monotonic()

    def patience(self) -> float:
        return self.task.patience if self.task else _OPENING

    def end(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()
        for process in self.processes:
            process.join(10)
        if self.pipe:
            self.pipe.close()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.processes, self.pipe, self.folder = [], None, ""

    def fail(self) -> None:
        """Gives the device up for the rest of the Run."""
        self.end()
        self.info = None

    def cause(self) -> str:
        """Why the children are gone, in words."""
        for process in self.processes:
            process.join(1)
            code = process.exitcode
            if code is not None and code < 0:
                name = signal.Signals(-code).name
                hint = " (out of memory?)" if name == "SIGKILL" else ""
                return f"the process died of {name}{hint}"
            if code:
                return f"the process ended with code {code}"
        return "the process ended early"


def _alone(name: str, ranks: int, budget: Budget, seed: int) -> _Group:
    return _Group(name, [name], ranks, budget, seed, _pinning(name))


def _gangs(infos: list[DeviceInfo], budget: Budget, seed: int) -> Iterator[_Group]:
    """The groups that act together: the host's ranks, the GPUs once per algorithm; one lone device for its skip."""
    gpus = [info for info in infos if info.id != "cpu"]
    local = {"GLOO_SOCKET_IFNAME": "lo"}
    for info in infos:
        if info.id == "cpu":
            names = ["cpu"] * info.ranks
            # ranks share the cores as the system deals them out: pinning would put them all on the first one
            yield _Group("cpu", names, info.ranks, budget, seed, local | {"OMP_NUM_THREADS": "1"}, peers=tuple(names))
    if len(gpus) > 1:
        names = [info.id for info in gpus]
        for algorithm in gpus[0].algorithms:
            # NCCL reads its settings once per process, so each algorithm has processes of its own
            settings = local | ({"NCCL_NVLS_ENABLE": "0", "NCCL_ALGO": "Ring"} if algorithm == "ring" else {})
            yield _Group(
                names[0], names, len(names), budget, seed, settings, peers=tuple(names), algorithms=(algorithm,)
            )


def _of(group: _Group, pinned: Pinned) -> Pinned:
    """What a group that runs some algorithms only can be asked for."""
    if not group.algorithms:
        return pinned

    def able(key: Key) -> bool:
        return dict(key[2]).get("algorithm", group.algorithms[0]) in group.algorithms

    return replace(pinned, cases={device: [p for p in pins if able(p[0])] for device, pins in pinned.cases.items()})


def _pinning(name: str) -> dict[str, str]:
    return {} if name != "cpu" else cpu.pinned_environment()


def _opened(groups: Sequence[_Group]) -> Iterator[Event]:
    """Starts the groups and waits for each to answer."""
    begun = time.monotonic()
    for group in groups:
        group.start()
    for group in groups:
        try:
            kind, value = group.pipe.recv() if group.pipe.poll(_OPENING) else ("failed", "did not answer while opening")
        except EOFError:
            kind, value = "failed", group.cause()
        if kind == "opened":
            group.info, costs = value
            started = time.monotonic() - begun - sum(costs.values())
            yield Opened(group.info, {"starting its process": max(started, 0.0)} | costs)
        else:
            group.end()
            yield Failed(group.device, value)


def _watch(groups: Sequence[_Group], choose: Callable[[DeviceInfo], list[str]]) -> Iterator[Event]:
    """Runs the chosen probes on opened groups at once, until each is done or given up."""
    active = [group for group in groups if group.info and choose(group.info)]
    for group in active:
        group.begin(choose(group.info))
    while active:
        pipes = {group.pipe: group for group in active}
        ready = wait(pipes, timeout=1.0)
        for pipe in ready:
            group = pipes[pipe]
            try:
                kind, value = pipe.recv()
            except (EOFError, OSError):
                yield from _crashed(group, group.cause(), choose, active)
                continue
            group.heard = time.monotonic()
            if kind == "started":
                group.task = value
                yield value
            elif kind == "measured":
                group.task = None
                value = replace(value, devices=group.peers)
                group.history[value.turn] = value.median if value.seconds else None
                yield Measured(value)
            elif kind == "broken":
                yield from _crashed(group, value, choose, active)
            elif kind == "failed":
                active.remove(group)
                group.fail()
                yield Failed(group.device, value)
            else:  # done
                active.remove(group)
        for group in list(active):
            if time.monotonic() - group.heard > group.patience():
                waited = units.seconds(group.patience())
                yield from _crashed(group, f"no sign of life for {waited}: taken for hung and ended", choose, active)
            elif any(p.exitcode not in (None, 0) for p in group.processes) and not group.pipe.poll():
                # a rank died: its peers wait for it for ever
                yield from _crashed(group, group.cause(), choose, active)


def _crashed(group: _Group, cause: str, choose: Callable, active: list[_Group]) -> Iterator[Event]:
    group.crashes += 1
    task = group.task
    group.end()
    if task:
        record = replace(task.record, reasons=(cause,), devices=group.peers)
        group.history[record.turn] = None
        yield Measured(record)
    if group.crashes >= _MAX_CRASHES or not task:
        active.remove(group)
        group.fail()
        yield Failed(group.device, cause if not task else f"{cause}; given up after {group.crashes} crashes")
        return
    for event in _opened([group]):
        if isinstance(event, Failed):
            active.remove(group)
            group.fail()
            yield event
            return
    group.begin(choose(group.info))


@contextmanager
def _ended(groups: Sequence[_Group]) -> Iterator[None]:
    """No child outlives its part of the Run, whatever ends it."""
    try:
        yield
    finally:
        for group in groups:
            group.end()


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Spawned children inherit the environment of this moment."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
