"""The processes that act as one device: a single one, or the ranks of a collective. Started, asked, heard and ended."""

import math
import multiprocessing
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from typing import Any

from bench.measure import worker
from bench.measure.budget import Budget
from bench.measure.device import cpu
from bench.measure.device.host import inherited
from bench.measure.session import NOTHING_SELECTED, CaseSelection
from bench.measure.worker import BROKEN, FAILED, Ask, Kind, Place, Started
from bench.schema import DeviceInfo, Key

# Opening a device loads torch, a driver and maybe compiles; a cold file system on a busy node takes its time.
OPENING = 300.0
# Trying the instrument takes three seconds; what hangs in it must not take a minute.
_TRYING = 60.0
# Seconds for the child that went first to be seen to have gone: its peers may tell of their own failure before.
FIRST = 1.0


@dataclass
class Group:
    """The processes that act as one: a single device, or the ranks of a collective. Rank 0 speaks for them."""

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
    ends: dict[int, tuple[str, tuple[float, str]]] = field(default_factory=dict)  # rank -> (kind, (when, why))
    info: DeviceInfo | None = None
    task: Started | None = None
    heard: float = 0.0
    crashes: int = 0
    history: dict = field(default_factory=dict)
    queued: set[Kind] = field(default_factory=set)  # kinds of cases whose capture into a graph broke a process
    pinned: CaseSelection = NOTHING_SELECTED
    company: str = ""  # who else is on the host links
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
        places = [
            Place(name, rank, world, self.ranks, meeting, self.algorithms, self.meet)
            for rank, name in enumerate(self.names)
        ]
        with inherited(self.environment):
            self.processes = [
                context.Process(target=worker.main, args=(pipe, place, self.budget, self.seed), daemon=True)
                for (_, pipe), place in zip(pairs, places, strict=True)
            ]
            for process in self.processes:
                process.start()
        for _, theirs in pairs:
            theirs.close()
        self.task, self.heard, self.ends = None, time.monotonic(), {}

    def answer(self, until: float) -> tuple[str, Any]:
        """("opened", (info, costs)), or ("failed", why) as soon as any child of the group cannot go on."""
        until = min(until, time.monotonic() + OPENING)
        while (left := until - time.monotonic()) > 0:
            wait([self.pipe, *self.signs()], timeout=left)
            with suppress(EOFError, OSError):
                if self.pipe.poll():
                    kind, value = self.pipe.recv()
                    if kind == "opened":
                        return kind, value
                    self.ends[0] = (kind, value)
            if self.broken():
                return "failed", self.cause()[1]
        return "failed", "did not answer while opening"

    def begin(self, probes: list[str]) -> None:
        followed = askable(self.pinned, self.algorithms, self.company)
        seconds, whole, queued = self.until - time.monotonic(), self.until - self.since, frozenset(self.queued)
        ask = Ask(probes, dict(self.history), followed, queued, self.company, seconds, whole, self.trying)
        with suppress(OSError):  # a child that died is found by the watch
            self.pipe.send(ask)
        self.heard = time.monotonic()

    def patience(self) -> float:
        return self.task.patience if self.task else _TRYING if self.trying else OPENING

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
        until = time.monotonic() + FIRST
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


def single(name: str, ranks: int, budget: Budget, seed: int, meet: Barrier | None = None) -> Group:
    return Group(name, [name], ranks, budget, seed, _pinning(name), meet=meet)


def rank_groups(infos: list[DeviceInfo], budget: Budget, seed: int) -> Iterator[Group]:
    """The groups that act together: the host's ranks, the GPUs once per algorithm; one lone device for its skip."""
    gpus = [info for info in infos if info.id != "cpu"]
    local = {"GLOO_SOCKET_IFNAME": "lo"}
    for info in infos:
        if info.id == "cpu":
            names = ["cpu"] * info.ranks
            # ranks share the cores as the system deals them out: pinning would put them all on the first one
            yield Group("cpu", names, info.ranks, budget, seed, local | {"OMP_NUM_THREADS": "1"}, peers=tuple(names))
    if len(gpus) > 1:
        names = [info.id for info in gpus]
        for algorithm in gpus[0].algorithms:
            # NCCL reads its settings once per process, so each algorithm has processes of its own
            settings = local | ({"NCCL_NVLS_ENABLE": "0", "NCCL_ALGO": "Ring"} if algorithm == "ring" else {})
            yield Group(
                names[0], names, len(names), budget, seed, settings, peers=tuple(names), algorithms=(algorithm,)
            )


def askable(pinned: CaseSelection, algorithms: Sequence[str] = (), company: str = "") -> CaseSelection:
    """What a pass can be asked for: of collectives these algorithms, all for none; of shared links this company."""

    def able(key: Key) -> bool:
        params = dict(key[2])
        named = not algorithms or params.get("algorithm", algorithms[0]) in algorithms
        return named and params.get("company", "") == company

    return replace(pinned, cases={device: [p for p in pins if able(p[0])] for device, pins in pinned.cases.items()})


def _pinning(name: str) -> dict[str, str]:
    return {} if name != "cpu" else cpu.pinned_environment()


def link_turns(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Who may use host links at once and still be alone: one GPU of each PCIe root; of an unknown root, that GPU."""
    roots: dict[str, list[Group]] = {}
    for group in groups:
        if group.info and group.info.root:
            roots.setdefault(group.info.root, []).append(group)
    for turn in zip_longest(*roots.values()):
        yield [group for group in turn if group]
    yield from ([group] for group in groups if group.info and not group.info.root)


@contextmanager
def ended(groups: Sequence[Group]) -> Iterator[None]:
    """No child outlives its part of the Run, whatever ends it."""
    try:
        yield
    finally:
        for group in groups:
            group.end()
