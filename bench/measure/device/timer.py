"""Seconds per launch on a GPU, with the SM clock they were taken at; host time never enters.

Short launches are captured into a CUDA graph and replayed; longer ones are queued. Either way the stream is held by a
spinning kernel until enough is queued, and events around the batch take the time (nvbench's blocking kernel; DeepGEMM's
sleep). The spin is bounded in cycles, so that nothing can hang.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from bench.measure.device.protocol import CaptureBroken, Sample, Unsupported, gathered

# Below this a launch is over before the host has made the next one.
SHORT = 50e-6
# A graph lasts about this long, so that the gap between two replays does not show.
GRAPH, NODES = 1e-3, 1024
# Launches that must be queued before the hold ends; later ones are longer than the host takes to queue them.
LEAD = 32
LONGEST_HOLD = 0.05
# %globaltimer steps by up to 1 us: a shorter window gives no clock to 1 %.
SHORTEST_WINDOW_NS = 100_000
_PLAUSIBLE = (5e7, 1e10)


def captured(seconds: float, host: float, world: int) -> bool:
    """Whether launches go into a graph: where the host may fall behind; never with several ranks, which must agree."""
    return world == 1 and seconds < max(SHORT, 2 * host)


def rounds(seconds: float, ring: int) -> int:
    """Whole rounds of the ring in a graph of about 1 ms: a part of it would stay in the cache from replay to replay."""
    return max(1, min(round(GRAPH / (max(seconds, 1e-7) * ring)), NODES // ring))


def clock(counters: Sequence[int]) -> float | None:
    """Mean SM clock in Hz between two stamps (ns, cycles, ns, cycles); None where they do not tell (see clock.cu)."""
    begun, first, ended, last = counters
    if not begun or not ended or ended - begun < SHORTEST_WINDOW_NS:
        return None
    hertz = (last - first) / (ended - begun) * 1e9
    return hertz if _PLAUSIBLE[0] < hertz < _PLAUSIBLE[1] else None


class Stopwatch:
    """Times batches on torch's current stream.

    stamp(counters, slot): a launch of clock.cu's kernel, None where it could not be compiled. cycles: the highest SM
    clock in Hz, by which seconds to hold become cycles. barrier: what lines several ranks up, queued behind the hold.
    """

    def __init__(
        self, counters: Any, stamp: Callable | None, cycles: float, world: int = 1, barrier: Callable | None = None
    ):
        import torch

        self._torch = torch
        self._counters, self._stamp, self._cycles = counters, stamp or _no_stamp, cycles
        self._world, self._barrier = world, barrier
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._side = torch.cuda.Stream()
        self._failed: list[Any] = []
        self.forget()
        # CUDA loads a kernel, and NCCL connects its ranks, at the first use: not under a hold
        self._stamp(counters, 0)
        torch.cuda._sleep(1)
        if barrier:
            barrier()
        torch.cuda.synchronize()

    def forget(self) -> None:
        """Lets go of the last launches, their graph and so their memory."""
        self._launches: Sequence[Callable[[], Any]] | None = None
        # the graph before the pool that it allocates from
        self._graph: Any = None
        self._pool: Any = None
        self._nodes = self._next = 0
        self._seconds = self._host = 0.0
        self._slack = 2.0

    def time(self, launches: Sequence[Callable[[], Any]], count: int, timing: str = "") -> Sample:
        """Mean seconds of about `count` launches, going on around the ring where the last batch stopped.

        timing: as a Case has it; "synchronous" and "back to back" let the host into the time, "graph" insists on one
        and "queued" goes without. Raises Unsupported where launches that must go into a graph do not, CaptureBroken
        where an attempt has left this process unable to capture any others.
        """
        if self._launches is not launches:
            self._meet(launches, timing)
        if timing == "synchronous":
            return self._waited(launches, count)
        if timing == "back to back":
            return self._free(launches, count)
        if timing == "graph" and not self._capture():
            raise Unsupported("these launches cannot be captured into a graph")
        short = count > 1 and timing != "queued" and captured(self._seconds, self._host, self._world)
        if short and self._capture():
            replays = max(1, round(count / self._nodes))
            seconds, hertz, _ = self._queued([self._graph.replay] * replays)
            return Sample(seconds / (replays * self._nodes), hertz, replays * self._nodes, timing="graph")
        if self._seconds < 2 * self._host:
            # launches that no graph takes and that are over before the next is made: only what the hold covers counts
            count = min(count, LEAD)
        ring = len(launches)
        calls = [launches[(self._next + i) % ring] for i in range(count)]
        self._next = (self._next + count) % ring
        seconds, hertz, held = self._queued(calls)
        doubt = "" if held else "host time may be in it: the stream ran dry"
        return Sample(seconds / count, hertz, count, doubt, "queued")

    def _waited(self, launches: Sequence[Callable[[], Any]], count: int) -> Sample:
        """By the host's clock, from each call to the end of its wait: what a caller who needs the result pays."""
        synchronize, ring = self._torch.cuda.synchronize, len(launches)
        synchronize()
        begun = time.perf_counter()
        for i in range(count):
            launches[i % ring]()
            synchronize()
        return Sample((time.perf_counter() - begun) / count, None, count, timing="synchronous")

    def _free(self, launches: Sequence[Callable[[], Any]], count: int) -> Sample:
        """Events around launches that nothing holds: the slower of the host that makes them and the GPU."""
        ring = len(launches)
        self._counters.zero_()
        self._torch.cuda.synchronize()
        self._stamp(self._counters, 0)
        self._start.record()
        for i in range(count):
            launches[i % ring]()
        self._end.record()
        self._stamp(self._counters, 1)
        self._torch.cuda.synchronize()
        seconds = self._start.elapsed_time(self._end) / 1e3 / count
        return Sample(seconds, clock(self._counters.tolist()), count, timing="back to back")

    def _meet(self, launches: Sequence[Callable[[], Any]], timing: str) -> None:
        """Learns how long new launches take, once what the first one loads lazily is there."""
        self.forget()
        launches[0]()
        self._torch.cuda.synchronize()
        if timing in ("synchronous", "back to back"):
            # a launch that waits for the GPU would only wait for the hold to end
            self._launches = launches
            return
        spent = []

        def timed() -> None:
            begun = time.perf_counter()
            launches[0]()
            spent.append(time.perf_counter() - begun)

        seconds, *_ = self._queued([timed])
        # Everything that follows from these, how many launches a batch has above all, ranks must do alike: one that
        # launched a collective less would leave the others waiting for it. The slowest speaks for all, so that the
        # hold covers its host too.
        learnt = gathered((seconds, spent[-1]), self._world)
        self._seconds, self._host = (max(each) for each in zip(*learnt, strict=True))
        self._launches = launches

    def _capture(self) -> bool:
        """Whether a graph of these launches is there. Raises CaptureBroken where a refusal spoilt the process."""
        if self._graph is None:
            ring = len(self._launches)
            times = rounds(self._seconds, ring)
            self._graph, self._pool = self._captured([launch for _ in range(times) for launch in self._launches])
            self._nodes = times * ring
            if not self._graph and not self._captured([self._counters.zero_])[0]:
                raise CaptureBroken("a failed graph capture left torch unable to capture, the process is replaced")
        return self._graph is not False

    def _captured(self, launches: Sequence[Callable[[], Any]]) -> tuple[Any, Any]:
        """A graph of these launches, which ran once, and its pool of memory; False where they cannot be captured."""
        cuda = self._torch.cuda
        graph, pool, stream = cuda.CUDAGraph(), cuda.MemPool(), cuda.current_stream()
        try:
            with cuda.graph(graph, pool=pool.id, stream=self._side, capture_error_mode="thread_local"):
                for launch in launches:
                    launch()
            graph.replay()  # the first replay uploads the graph
            cuda.synchronize()
        except RuntimeError:
            # leaving the context fails with the capture, and then the capture's stream would stay current; what was
            # wrong (no memory, say) comes up again when the launch is queued
            cuda.set_stream(stream)
            self._release(graph, pool)
            return False, None
        return graph, pool

    def _release(self, graph: Any, pool: Any) -> None:
        """Takes back what a failed capture left. Raises CaptureBroken where that cannot be done.

        CUDAGraph::capture_end of torch up to 2.11 raises before it tells the allocator that the capture is over, and
        then empty_cache(), with which each later capture begins, fails an assertion (pytorch/pytorch#180395); later
        versions end it, and still keep the pool for ever (pytorch/pytorch#190348). The two calls are those with which
        torch.cuda.use_mem_pool ends.
        """
        torch = self._torch
        # Kept: the allocator of host memory may go on asking the dead capture's graph whether memory is its own, and a
        # pool that still has a capture aborts the process when it is dropped.
        self._failed += [graph, pool]
        try:
            with torch.cuda.stream(self._side):
                if torch.cuda.is_current_stream_capturing():
                    raise CaptureBroken("a failed graph capture is still under way, the process is replaced")
            torch.cuda.synchronize()
            graph.reset()
            device = torch.cuda.current_device()
            with suppress(RuntimeError):  # it was told already
                torch._C._cuda_endAllocateToPool(device, pool.id)
            while pool.use_count() > 1:
                torch._C._cuda_releasePool(device, pool.id)
            self._failed.pop()
        except RuntimeError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CaptureBroken(f"a failed graph capture cannot be undone, the process is replaced: {reason}") from None

    def _queued(self, calls: Sequence[Callable[[], Any]]) -> tuple[float, float | None, bool]:
        """GPU seconds of all calls, SM clock, whether the hold lasted; taken once it outlasts the queueing."""
        cuda = self._torch.cuda
        while True:
            hold = min(LONGEST_HOLD, self._slack * (50e-6 + self._host * min(len(calls), LEAD)))
            self._counters.zero_()
            cuda._sleep(int(hold * self._cycles))
            if self._barrier:
                self._barrier()
            self._stamp(self._counters, 0)
            self._start.record()
            for call in calls[:LEAD]:
                call()
            held = not self._start.query()
            for call in calls[LEAD:]:
                call()
            self._end.record()
            self._stamp(self._counters, 1)
            cuda.synchronize()
            # ranks must not decide this each for itself
            if held or hold >= LONGEST_HOLD or self._world > 1:
                return self._start.elapsed_time(self._end) / 1e3, clock(self._counters.tolist()), held
            self._slack *= 2


def _no_stamp(counters: Any, slot: int) -> None:
    """Leaves the counters at zero, which says that the clock is unknown."""
