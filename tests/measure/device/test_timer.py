"""Timing, against a GPU whose every duration is known: a queue behind a host clock, both virtual."""

import gc
import multiprocessing
import os
import weakref
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from bench.measure.device import timer as timer_module
from bench.measure.device.protocol import CaptureBroken, Unsupported
from bench.measure.device.timer import Stopwatch, captured, clock, rounds

HZ = 1e9


class Gpu:
    """torch.cuda as far as the stopwatch uses it. Host calls take time on `host`, the stream is busy until `ready`.

    version: of torch, whose captures fail differently. unended: whether CUDA never hears of a failed capture's end.
    underway: pools that the allocator believes to be captured into. used: pool -> who holds it.
    """

    OutOfMemoryError = torch.cuda.OutOfMemoryError

    def __init__(self, version=(2, 13), unended=False):
        self.host = self.ready = 0.0
        self.version, self.unended = version, unended
        self.recording = None
        self.current = "default"
        self.capturing, self.underway, self.used = set(), [], {}
        self.holds, self.captures, self.runs = 0, 0, []
        gpu = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                self.at = max(gpu.ready, gpu.host)

            def query(self):
                return self.at <= gpu.host

            def elapsed_time(self, end):
                return (end.at - self.at) * 1e3

        class Graph:
            def reset(self):
                pass

            def replay(self):
                gpu.host += 30e-6
                gpu.ready = max(gpu.ready, gpu.host) + sum(seconds for _, seconds in self.nodes)
                gpu.runs += [name for name, _ in self.nodes]

        class MemPool:
            def __init__(self):
                self.id = (0, len(gpu.used) + 1)
                gpu.used[self.id] = 1

            def use_count(self):
                return gpu.used[self.id]

        self.Event, self.CUDAGraph, self.MemPool, self.Stream = Event, Graph, MemPool, lambda: "side"

    def launch(self, name, seconds, host=10e-6):
        if self.recording is not None:
            self.recording.append((name, seconds))
            return
        self.host += host
        self.ready = max(self.ready, self.host) + seconds
        if name:
            self.runs.append(name)

    def _sleep(self, cycles):
        self.holds += 1
        self.launch("", cycles / HZ, 5e-6)

    def synchronize(self):
        self.host = max(self.host, self.ready)

    def current_stream(self):
        return self.current

    def current_device(self):
        return 0

    def set_stream(self, stream):
        self.current = stream

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def is_current_stream_capturing(self):
        return self.current in self.capturing

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        self.captures += 1
        if self.underway:  # torch.cuda.graph begins with empty_cache()
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        self.recording, self.current = [], stream
        self.underway.append(pool)
        self.used[pool] += 1
        try:
            yield
        except RuntimeError:
            self.recording = None
            if self.unended:
                self.capturing.add(stream)
            elif self.version >= (2, 12):
                self.underway.remove(pool)
            raise  # the stream stays current, as torch leaves it
        self.underway.remove(pool)
        graph.nodes, self.recording, self.current = self.recording, None, "default"

    def end_pool(self, device, pool):
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)

    def release_pool(self, device, pool):
        self.used[pool] -= 1


class Launch:
    """One launch of a known duration, on a buffer that can be watched."""

    def __init__(self, gpu, name, seconds, host=10e-6):
        self.gpu, self.name, self.seconds, self.host = gpu, name, seconds, host

    def __call__(self):
        self.gpu.launch(self.name, self.seconds, self.host)


class Refusing(Launch):
    """What cannot be captured."""

    def __call__(self):
        if self.gpu.recording is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
        super().__call__()


@pytest.fixture
def installed(monkeypatch):
    def install(gpu):
        monkeypatch.setattr(torch, "cuda", gpu)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", gpu.end_pool, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", gpu.release_pool, raising=False)
        monkeypatch.setattr(timer_module, "time", SimpleNamespace(perf_counter=lambda: gpu.host))
        return gpu

    return install


@pytest.fixture
def gpu(installed):
    return installed(Gpu())


def watch(gpu, **how):
    def stamp(counters, slot):
        gpu.launch("", 1e-6, 5e-6)
        counters[2 * slot] = int(gpu.ready * 1e9) + 1
        counters[2 * slot + 1] = int(gpu.ready * 1.7e9) + 1

    return Stopwatch(torch.zeros(4, dtype=torch.int64), stamp, HZ, **how)


def launches(gpu, count, seconds, host=10e-6):
    return [Launch(gpu, str(i), seconds, host) for i in range(count)]


def test_long_launches_are_queued_and_timed_exactly(gpu):
    sample = watch(gpu).time(launches(gpu, 3, 200e-6), 10)
    assert sample.seconds == pytest.approx(200e-6, rel=1e-9)
    assert sample.clock_hz == pytest.approx(1.7e9, rel=1e-3)
    assert gpu.captures == 0


def test_short_launches_go_into_one_graph_of_whole_rings(gpu):
    timer, ring = watch(gpu), launches(gpu, 7, 4e-6, host=20e-6)
    for count in (200, 250, 30):
        assert timer.time(ring, count).seconds == pytest.approx(4e-6, rel=1e-9)
    assert gpu.captures == 1
    assert len(gpu.runs) % 7 == 2  # every buffer as often, but for the two launches that got to know them
    # a millisecond of work a graph, so that gaps between replays do not show
    assert rounds(4e-6, 7) * 7 * 4e-6 == pytest.approx(1e-3, rel=0.05)


def test_a_single_launch_is_never_captured(gpu):
    assert watch(gpu).time(launches(gpu, 7, 4e-6), 1).seconds == pytest.approx(4e-6, rel=1e-9)
    assert gpu.captures == 0


def test_a_host_slower_than_the_gpu_does_not_enter(gpu):
    sample = watch(gpu).time(launches(gpu, 2, 300e-6, host=250e-6), 40)
    assert sample.seconds == pytest.approx(300e-6, rel=1e-9)
    assert gpu.captures == 1


def test_the_hold_grows_until_it_outlasts_the_host(gpu):
    # the host is quick when met and slow afterwards, so that the first hold is too short for it
    timer, ring = watch(gpu), launches(gpu, 1, 2e-3, host=10e-6)
    timer.time(ring, 1)
    ring[0].host = 900e-6
    before = gpu.holds
    assert timer.time(ring, 20).seconds == pytest.approx(2e-3, rel=1e-9)
    assert gpu.holds > before + 1


def test_the_hold_is_bounded(gpu):
    ring = launches(gpu, 1, 1.0, host=0.4)
    watch(gpu).time(ring, 2)
    assert gpu.host < 20  # it gives up growing and takes the sample


def test_batches_go_on_around_the_ring(gpu):
    timer, ring = watch(gpu), launches(gpu, 5, 1e-3)
    timer.time(ring, 1)
    gpu.runs.clear()
    for _ in range(4):
        timer.time(ring, 3)
    assert "".join(gpu.runs) == "123401234012"


@pytest.mark.parametrize("version", [(2, 11), (2, 12), (2, 13)])
def test_what_refuses_a_capture_is_queued_and_says_so(installed, version):
    gpu = installed(Gpu(version))
    timer, ring = watch(gpu), [Refusing(gpu, "r", 5e-6)]
    for _ in range(3):
        sample = timer.time(ring, 100)
        assert sample.seconds == pytest.approx(5e-6, rel=1e-9)
        assert sample.timing == "queued"
    assert gpu.captures == 2, "the attempt, and the proof that captures still work"
    assert gpu.current == "default"


@pytest.mark.parametrize("version", [(2, 11), (2, 12), (2, 13)])
def test_a_failed_capture_spoils_no_later_one(installed, version):
    """torch up to 2.11 believed the capture to be under way for ever, and each later case got the host's pace."""
    gpu = installed(Gpu(version))
    timer = watch(gpu)
    timer.time([Refusing(gpu, "r", 5e-6)], 100)
    sample = timer.time(launches(gpu, 3, 2e-6, host=20e-6), 500)
    assert sample.seconds == pytest.approx(2e-6, rel=1e-9)
    assert sample.timing == "graph"
    assert not gpu.underway
    assert max(gpu.used.values()) <= 2, "no pool is held by more than its owner and its graph"
    assert gpu.used[0, 1] == 1, "the failed one's pool only by its owner, so that its memory is free with it"


def test_a_capture_that_never_ends_breaks_the_process(installed):
    gpu = installed(Gpu(unended=True))
    with pytest.raises(CaptureBroken, match="still under way"):
        watch(gpu).time([Refusing(gpu, "r", 5e-6)], 100)
    assert gpu.current == "default"


def test_an_allocator_that_cannot_be_told_breaks_the_process(installed, monkeypatch):
    gpu = installed(Gpu((2, 11)))

    def deaf(device, pool):
        raise RuntimeError("no such pool")

    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", deaf, raising=False)
    with pytest.raises(CaptureBroken, match="unable to capture"):
        watch(gpu).time([Refusing(gpu, "r", 5e-6)], 100)


def test_what_once_broke_a_process_is_queued_without_an_attempt(gpu):
    sample = watch(gpu).time(launches(gpu, 3, 5e-6), 100, "queued")
    assert (sample.seconds, sample.timing, gpu.captures) == (pytest.approx(5e-6, rel=1e-9), "queued", 0)


@pytest.mark.parametrize("how", ["", "queued", "synchronous", "back to back", "graph"])
def test_a_sample_says_how_it_was_timed(gpu, how):
    assert watch(gpu).time(launches(gpu, 3, 5e-6), 100, how).timing == (how or "graph")


def rank_of_its_own_speed(rank, meeting, told):
    """One rank whose host is quick (rank 0) or slow, launching as many real all-reduces as its stopwatch wants."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    gpu = Gpu()
    torch.cuda, timer_module.time = gpu, SimpleNamespace(perf_counter=lambda: gpu.host)
    summed = torch.zeros(1)

    class Collective(Launch):
        def __call__(self):
            dist.all_reduce(summed)
            super().__call__()

    timer = watch(gpu, world=2, barrier=partial(dist.all_reduce, torch.zeros(1)))
    sample = timer.time([Collective(gpu, "a", 60e-6, host=(10e-6, 40e-6)[rank])], 100)
    told.put((rank, sample.count, len(gpu.runs)))
    told.close(), told.join_thread()
    os._exit(0)  # on the usual way out gloo's threads now and then abort the process


def test_ranks_of_different_speed_launch_alike(tmp_path):
    """A slow host once made its rank shorten its batch by its own clock: the others waited for it in their next one."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    ranks = [
        context.Process(target=rank_of_its_own_speed, args=(rank, tmp_path / "meeting", told), daemon=True)
        for rank in range(2)
    ]
    try:
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(60)
        assert [process.exitcode for process in ranks] == [0, 0], "a rank hangs or failed"
    finally:
        for process in ranks:
            process.kill()
    (_, count, made), (_, other, others) = sorted(told.get(timeout=10) for _ in ranks)
    assert (count, made) == (other, others)


def test_ranks_take_the_same_path_and_start_together(gpu, monkeypatch):
    monkeypatch.setattr(timer_module, "gathered", lambda value, world: [value] * world)
    lined_up = []
    timer = watch(gpu, world=4, barrier=lambda: lined_up.append(gpu.holds))
    lined_up.clear()
    timer.time(launches(gpu, 1, 5e-6), 50)
    assert gpu.captures == 0
    assert lined_up == [2, 3]  # behind each hold, and no sample is taken twice


def test_forgetting_lets_go_of_the_buffers(gpu):
    timer, ring = watch(gpu), launches(gpu, 2, 5e-6)
    timer.time(ring, 100)
    buffer = weakref.ref(ring[0])
    timer.forget()
    del ring
    gc.collect()
    assert buffer() is None


def test_a_waited_launch_costs_the_host_and_the_gpu(gpu):
    """By the host's clock: making the launch, and its whole time on the GPU."""
    sample = watch(gpu).time(launches(gpu, 1, 3e-6, host=10e-6), 20, "synchronous")
    assert sample.seconds == pytest.approx(13e-6, rel=1e-9)
    assert gpu.captures == 0


@pytest.mark.parametrize(("seconds", "host", "slower"), [(3e-6, 10e-6, 10e-6), (50e-6, 10e-6, 50e-6)])
def test_back_to_back_shows_the_slower_of_host_and_gpu(gpu, seconds, host, slower):
    timer, ring = watch(gpu), launches(gpu, 1, seconds, host)
    timer.time(ring, 1, "back to back")
    holds = gpu.holds
    assert timer.time(ring, 1000, "back to back").seconds == pytest.approx(slower, rel=0.02)
    assert gpu.holds == holds, "nothing holds the stream"


def test_in_a_graph_only_the_gpu_is_left(gpu):
    sample = watch(gpu).time(launches(gpu, 1, 2e-6, host=10e-6), 500, "graph")
    assert sample.seconds == pytest.approx(2e-6, rel=1e-9)
    assert gpu.captures == 1


def test_a_graph_that_cannot_be_is_a_skip(gpu):
    with pytest.raises(Unsupported, match="cannot be captured"):
        watch(gpu).time([Refusing(gpu, "r", 5e-6)], 100, "graph")


def test_without_a_stamp_the_clock_is_unknown_and_the_time_is_not(gpu):
    timer = Stopwatch(torch.zeros(4, dtype=torch.int64), None, HZ)
    sample = timer.time(launches(gpu, 3, 200e-6), 10)
    assert sample.seconds == pytest.approx(200e-6, rel=1e-9)
    assert sample.clock_hz is None


@pytest.mark.parametrize(
    ("seconds", "host", "world", "graph"),
    [(10e-6, 5e-6, 1, True), (60e-6, 5e-6, 1, False), (60e-6, 40e-6, 1, True), (10e-6, 5e-6, 2, False)],
)
def test_graph_or_events(seconds, host, world, graph):
    assert captured(seconds, host, world) is graph


@pytest.mark.parametrize(
    ("seconds", "ring", "times"), [(1e-6, 1, 1000), (1e-9, 1, 1024), (1e-6, 300, 3), (1e-6, 5000, 1), (1.0, 2, 1)]
)
def test_a_graph_has_whole_rounds(seconds, ring, times):
    assert rounds(seconds, ring) == times


@pytest.mark.parametrize(
    ("counters", "hertz"),
    [
        ((10**6, 500, 2 * 10**6, 500 + 1_980_000), 1.98e9),
        ((0, 0, 0, 0), None),  # no block met SM 0
        ((10**6, 0, 10**6 + 50_000, 99_000), None),  # too short a window
        ((10**6, 10**9, 2 * 10**6, 0), None),  # counted backwards: another SM's counter
    ],
)
def test_the_clock_is_known_or_none(counters, hertz):
    assert clock(counters) == hertz
