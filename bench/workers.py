"""One supervised process per device: a crash or a hang costs one case, never the Run.

Children measure and send what they have; this process watches them and is the only one that writes. Children that die
are started again with the history of what was done, and go on behind the case that killed them.
"""

import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from typing import Any

from bench import units
from bench.budget import BUDGETS, Budget
from bench.child import BROKEN, FAILED, Compiled, Kind, Place, Request, Started, live
from bench.device import DeviceError, cpu
from bench.portions import LEAST, portions
from bench.probes import Probe, describe
from bench.schema import FAIL, Check, DeviceInfo, Key, Measurement, Unreached
from bench.session import NOTHING_PINNED, Pinned, Told, session

# Opening a device loads torch, a driver and maybe compiles; a cold file system on a busy node takes its time.
_OPENING = 300.0
_MAX_CRASHES = 8
# Trying the instrument takes three seconds; what hangs in it must not take a minute.
_TRYING = 60.0
# What connecting its ranks takes NCCL beside opening the devices.
_NCCL = 3.0
# Seconds after its time was over that a group is waited for: beyond, a budget would be no promise.
_OVERTIME = 8.0
# Messages with which a child ends: (when, why).
_ENDS = ("failed", "broken", "uncapturable")
# Seconds for the child that went first to be seen to have gone: its peers may tell of their own failure before.
_FIRST = 1.0


@dataclass(frozen=True)
class Opened:
    """A device answered. costs: seconds that this took, by what took them."""

    info: DeviceInfo
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    measurement: Measurement


@dataclass(frozen=True)
class Checked:
    """What came of trying the instrument on a device, before it measured."""

    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Failed:
    """A whole device cannot go on."""

    device: str
    reason: str


Event = Opened | Checked | Started | Measured | Unreached | Failed


# Which cases to follow, once it is known what the devices are.
Choose = Callable[[Sequence[DeviceInfo]], Pinned]


def run(
    devices: Sequence[str],
    chosen: Sequence[Probe],
    budget: Budget,
    seed: int,
    choose: Choose = lambda infos: NOTHING_PINNED,
    left: Callable[[], float] = lambda: math.inf,
    verify: bool = False,
) -> Iterator[Event]:
    """Events of a whole Run, every device's Opened first. Closing the iterator ends every child.

    left: seconds that measuring may take, asked when the devices are open. verify: try the instrument first, in short.
    """
    if not budget.levels:  # headline roofs only: no link and no collective is one
        chosen = [probe for probe in chosen if not (probe.alone or probe.together)]
    if devices[0].startswith("sim:"):
        yield from _simulated(devices[0], chosen, budget, seed, choose, left)
        return
    # GPUs run at once: they share nothing but the host. The host's own cores are measured when nothing else runs.
    gpus = [name for name in devices if name != "cpu"]
    meet = multiprocessing.get_context("spawn").Barrier(len(gpus)) if len(gpus) > 1 else None
    groups = [_alone(name, len(gpus), budget, seed, meet) for name in gpus]
    host = [_alone("cpu", 1, budget, seed)] if "cpu" in devices else []
    with _ended(groups + host):
        yield from _opened(groups + host)
        pinned = choose([group.info for group in groups + host if group.info])
        for group in groups + host:
            group.pinned, group.trying = pinned, verify and bool(budget.levels)
        ready = [group.info for group in groups + host if group.info]
        together = [p for p in chosen if p.together]
        gangs = list(_gangs(ready, budget, seed)) if together else []
        turns = [*_turns(groups), *([host] if host else [])] if any(p.alone for p in chosen) else []
        shared = len(groups) > 1 and bool(turns)
        start = max((group.opening for group in groups + host if group.info), default=0.0)
        start += _NCCL * (len(groups) > 1)
        begun, seconds = time.monotonic(), left()
        parts = portions(seconds, len(turns), shared, len(gangs), start)
        # a collective on a device without peers is one skip, which the device says itself
        sides = [members for members in (groups, host) if members]
        for at, members in enumerate(sides, 1):
            until = begun + parts.main * at / len(sides)
            yield from _watch(members, lambda info: _names(chosen, info, alone=False), until)
        for members in turns:
            yield from _watch(members, lambda info: _names(chosen, info, alone=True), time.monotonic() + parts.turn)
        if shared and all(group.info for group in groups):
            for group in groups:
                group.company = "all"
            # a few cases, and no clock decides over them: a device that stopped alone would leave the others waiting
            yield from _watch(groups, lambda info: _names(chosen, info, alone=True))
    for at, group in enumerate(gangs, 1):
        group.pinned = pinned
        until = begun + seconds - max(parts.groups - at, 0) * parts.group
        if at > parts.groups or until - time.monotonic() < start + LEAST:
            info = next(info for info in ready if info.id == group.device)
            yield from _unbegun(group, info, together, budget)
            continue
        with _ended([group]):
            # the parent knows these devices already; a second Opened would only repeat it
            yield from (e for e in _opened([group], until + _OVERTIME) if isinstance(e, Failed))
            yield from _watch([group], lambda info: [p.name for p in together], until)


def _unbegun(group: "_Group", info: DeviceInfo, together: Sequence[Probe], budget: Budget) -> Iterator[Unreached]:
    """What ranks are not even started for, because the time would be over when they have met."""
    info = replace(info, algorithms=group.algorithms or info.algorithms)
    for probe in together:
        cases = describe(info, probe, budget.at(budget.levels[-1]))
        yield Unreached(group.device, probe.name, len(cases), len(cases))


def _turns(groups: Sequence["_Group"]) -> Iterator[list["_Group"]]:
    """Who may use host links at once and still be alone: one GPU of each PCIe root; of an unknown root, that GPU."""
    roots: dict[str, list[_Group]] = {}
    for group in groups:
        if group.info and group.info.root:
            roots.setdefault(group.info.root, []).append(group)
    for turn in zip_longest(*roots.values()):
        yield [group for group in turn if group]
    yield from ([group] for group in groups if group.info and not group.info.root)


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
            group.pipe.send(Request([p.name for p in chosen if not p.together], compile=True))
            kind, value = group.pipe.recv() if group.pipe.poll(_OPENING) else ("", None)
            return value if kind == "compiled" else None
    return None


def _simulated(
    text: str, chosen: Sequence[Probe], budget: Budget, seed: int, choose: Choose, left: Callable[[], float]
) -> Iterator[Event]:
    """As on real devices, one device after the other, each by its own virtual clock."""
    from bench.device.sim import open_simulated

    devices = open_simulated(text)
    yield from (Opened(device.info) for device in devices)
    pinned = choose([device.info for device in devices])
    peers = tuple(device.info.id for device in devices)
    several = len(devices) > 1
    gangs, start = (devices[0].info.algorithms or ("",)), devices[0].now()
    parts = portions(left() - start, 1, several, len(gangs) if several else 0, start)

    def told(device: Any, chosen: Sequence[Probe], company: str, seconds: float, names: tuple = ()) -> Iterator[Event]:
        device.info = replace(device.info, company=company)
        asked = _asked(pinned, device.info.algorithms if names else (), company)
        steps = Told(session(device, chosen, budget, seed, pinned=asked, seconds=seconds))
        yield from (Measured(replace(measurement, devices=names)) for measurement in steps)
        yield from steps.unreached

    for device in devices:
        yield from told(device, [p for p in chosen if not (p.together or p.alone)], "", parts.main)
        yield from told(device, [p for p in chosen if p.alone], "", parts.turn)
        if several:
            yield from told(device, [p for p in chosen if p.alone], "all", parts.company)
    first, together = devices[0], [p for p in chosen if p.together]
    for algorithm in gangs if together else ():
        first.info = replace(first.info, algorithms=(algorithm,) if algorithm else ())
        first.rest(start if several else 0.0)
        yield from told(first, together, "", parts.group - start, peers if several else ())


@dataclass
class _Group:
    """The processes that act as one: a single device, or the ranks of a collective. Rank 0 speaks for them.

    ends: rank -> (kind of message, (when, why)) of those that said why they cannot go on. queued: kinds of cases whose
    capture into a graph broke a process. company: whether host links are used alone or by all at once.
    """

    device: str
    names: Sequence[str]
    ranks: int
    budget: Budget
    seed: int
    environment: Mapping[str, str]
    peers: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    meet: Barrier | None = None
    processes: list[Any] = field(default_factory=list)
    pipes: list[Connection] = field(default_factory=list)
    ends: dict[int, tuple[str, tuple[float, str]]] = field(default_factory=dict)
    info: DeviceInfo | None = None
    task: Started | None = None
    heard: float = 0.0
    crashes: int = 0
    history: dict = field(default_factory=dict)
    queued: set[Kind] = field(default_factory=set)
    pinned: Pinned = NOTHING_PINNED
    company: str = ""
    folder: str = ""
    opening: float = 0.0
    since: float = 0.0
    until: float = math.inf
    trying: bool = False

    @property
    def pipe(self) -> Connection:
        """Rank 0's."""
        return self.pipes[0]

    def start(self) -> None:
        """Raises nothing: a child that cannot open its device says so through its pipe."""
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in self.names]
        self.pipes = [own for own, _ in pairs]
        world = len(self.names)
        # a file that does not exist yet is where the ranks find each other: no port to be taken by someone else
        folder = tempfile.mkdtemp(prefix="ridgepoint-ranks-") if self.peers else ""
        meeting = f"{folder}/meeting" if folder else ""
        self.folder = folder
        with _environment(self.environment):
            self.processes = [
                context.Process(
                    target=live,
                    args=(
                        pairs[rank][1],
                        Place(name, rank, world, self.ranks, meeting, self.algorithms, self.meet),
                    ),
                    kwargs={"budget": self.budget, "seed": self.seed},
                    daemon=True,
                )
                for rank, name in enumerate(self.names)
            ]
            for process in self.processes:
                process.start()
        for _, theirs in pairs:
            theirs.close()
        self.task, self.heard, self.ends = None, time.monotonic(), {}

    def begin(self, probes: list[str]) -> None:
        pinned = _asked(self.pinned, self.algorithms, self.company)
        with suppress(OSError):  # a child that died is found by the watch
            seconds = self.until - time.monotonic()
            self.pipe.send(
                Request(
                    probes,
                    dict(self.history),
                    pinned,
                    frozenset(self.queued),
                    self.company,
                    seconds,
                    self.until - self.since,
                    self.trying,
                )
            )
        self.heard = time.monotonic()

    def patience(self) -> float:
        return self.task.patience if self.task else _TRYING if self.trying else _OPENING

    def signs(self) -> list[Any]:
        """What shows, beside rank 0's pipe, that a child has something to say or is gone."""
        return [*self.pipes[1:], *(process.sentinel for process in self.processes)]

    def broken(self) -> bool:
        """Whether a child has gone or said that it must: its peers would wait for it for ever, whatever its code."""
        for rank, pipe in enumerate(self.pipes[1:], 1):
            with suppress(EOFError, OSError):
                if rank not in self.ends and pipe.poll():
                    self.ends[rank] = pipe.recv()
        return bool(self.ends) or any(process.exitcode is not None for process in self.processes)

    def end(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()
        for process in self.processes:
            process.join(10)
        for pipe in self.pipes:
            pipe.close()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.processes, self.pipes, self.folder = [], [], ""

    def fail(self) -> None:
        """Gives the device up for the rest of the Run."""
        self.end()
        self.info = None

    def cause(self) -> tuple[str, str]:
        """(kind of end, why) of the child that went first: the others may only have failed of that.

        Who went without a word cannot have failed of a peer, which is an error that is told. Rank 0's word may be
        behind its measurements in its pipe.
        """
        until = time.monotonic() + _FIRST
        while True:
            self.broken()
            silent = [r for r, p in enumerate(self.processes) if p.exitcode not in (None, FAILED, BROKEN)]
            left = until - time.monotonic()
            alive = [process.sentinel for process in self.processes if process.exitcode is None]
            if silent or not alive or left <= 0:
                break
            wait([*alive, *(pipe for r, pipe in enumerate(self.pipes) if r and r not in self.ends)], timeout=left)
        if silent:
            return "broken", self._of(silent[0], _last_word(self.processes[silent[0]].exitcode))
        if self.ends:
            rank, (kind, (_, reason)) = min(self.ends.items(), key=lambda end: end[1][1][0])
            return kind, self._of(rank, reason)
        return "broken", "the process ended without a word"

    def _of(self, rank: int, reason: str) -> str:
        return f"rank {rank}: {reason}" if len(self.processes) > 1 else reason


def _last_word(code: int) -> str:
    """Why a process is gone that did not say it."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process died of {name}{hint}"
    return f"the process ended with code {code} in the middle of its work"


def _alone(name: str, ranks: int, budget: Budget, seed: int, meet: Barrier | None = None) -> _Group:
    return _Group(name, [name], ranks, budget, seed, _pinning(name), meet=meet)


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


def _asked(pinned: Pinned, algorithms: Sequence[str] = (), company: str = "") -> Pinned:
    """What a pass can be asked for: of collectives these algorithms, all for none; of shared links this company."""

    def able(key: Key) -> bool:
        params = dict(key[2])
        named = not algorithms or params.get("algorithm", algorithms[0]) in algorithms
        return named and params.get("company", "") == company

    return replace(pinned, cases={device: [p for p in pins if able(p[0])] for device, pins in pinned.cases.items()})


def _pinning(name: str) -> dict[str, str]:
    return {} if name != "cpu" else cpu.pinned_environment()


def _opened(groups: Sequence[_Group], until: float = math.inf) -> Iterator[Event]:
    """Starts the groups and waits for each to answer, until then at most."""
    begun = time.monotonic()
    for group in groups:
        group.start()
    for group in groups:
        kind, value = _answer(group, until)
        if kind == "opened":
            group.info, costs = value
            group.opening = time.monotonic() - begun
            started = time.monotonic() - begun - sum(costs.values())
            yield Opened(group.info, {"starting its process": max(started, 0.0)} | costs)
        else:
            group.end()
            yield Failed(group.device, value)


def _answer(group: _Group, until: float) -> tuple[str, Any]:
    """("opened", (info, costs)), or ("failed", why) as soon as any child of the group cannot go on."""
    until = min(until, time.monotonic() + _OPENING)
    while (left := until - time.monotonic()) > 0:
        wait([group.pipe, *group.signs()], timeout=left)
        with suppress(EOFError, OSError):
            if group.pipe.poll():
                kind, value = group.pipe.recv()
                if kind == "opened":
                    return kind, value
                group.ends[0] = (kind, value)
        if group.broken():
            return "failed", group.cause()[1]
    return "failed", "did not answer while opening"


def _watch(
    groups: Sequence[_Group], choose: Callable[[DeviceInfo], list[str]], until: float = math.inf
) -> Iterator[Event]:
    """Runs the chosen probes on opened groups at once, until each is done or given up.

    until: when each is to be done, on time.monotonic's clock.
    """
    active = [group for group in groups if group.info and choose(group.info)]
    for group in [group for group in active if not group.pipes]:  # ended in the part before, when its time was over
        yield from _reopened(group, active)
    for group in active:
        group.since, group.until = time.monotonic(), until
        group.begin(choose(group.info))
    while active:
        speaking = {group.pipe: group for group in active}
        for pipe in wait([*speaking, *(sign for group in active for sign in group.signs())], timeout=1.0):
            if pipe not in speaking:
                continue
            group = speaking[pipe]
            try:
                kind, value = pipe.recv()
            except (EOFError, OSError):
                yield from _crashed(group, *group.cause(), choose, active)
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
            elif kind == "checked":
                group.trying = False
                yield Checked(value)
            elif kind in _ENDS:
                group.ends[0] = (kind, value)
                yield from _crashed(group, *group.cause(), choose, active)
            else:  # done
                active.remove(group)
                yield from value
        for group in list(active):
            silent = time.monotonic() - group.heard
            if silent > group.patience() or time.monotonic() > group.until + _OVERTIME:
                waited = f"no sign of life for {units.seconds(silent, 2)}: taken for hung and ended"
                yield from _crashed(group, "broken", waited, choose, active)
            elif group.broken() and not group.pipe.poll(_FIRST):
                # rank 0 may have been about to say which case it is that its peer left
                yield from _crashed(group, *group.cause(), choose, active)


def _crashed(group: _Group, kind: str, cause: str, choose: Callable, active: list[_Group]) -> Iterator[Event]:
    """Starts a group again behind the case that ended it, or gives it up."""
    task = group.task
    group.end()
    if group.trying:
        # the instrument could not even be tried, which is a finding; whether it measures will show
        group.trying = False
        yield Checked((_untried(group.device, cause),))
    elif kind == "uncapturable" and task and task.kind not in group.queued:
        # the case is not to blame and comes again, this time queued
        group.queued.add(task.kind)
    else:
        group.crashes += 1
        if task:
            record = replace(task.record, reasons=(cause,), devices=group.peers)
            group.history[record.turn] = None
            yield Measured(record)
        if kind == "failed" or group.crashes >= _MAX_CRASHES or not task:
            active.remove(group)
            group.fail()
            many = f"; given up after {group.crashes} crashes" if group.crashes >= _MAX_CRASHES else ""
            yield Failed(group.device, cause + many)
            return
    if group.until - time.monotonic() < group.opening:
        active.remove(group)  # open again its time would be over; whoever needs it next opens it
        return
    yield from _reopened(group, active)
    if group in active:
        group.begin(choose(group.info))


def _reopened(group: _Group, active: list[_Group]) -> Iterator[Event]:
    """Opens a group that was ended."""
    for event in _opened([group]):
        if isinstance(event, Failed):
            active.remove(group)
            group.fail()
            yield event


def _untried(device: str, cause: str) -> Check:
    return Check(
        name="verify",
        device=device,
        proves="the instrument can be tried before it measures",
        expected="every check ends",
        state=FAIL,
        reason=cause,
        fix="`python -m bench verify` says which check ends its process",
    )


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
