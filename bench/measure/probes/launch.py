"""What a launch costs before it does anything: an empty kernel waited for, queued back to back, and in a graph.

Here the host is the question, so its time is in the answer: waited for, a launch is timed by the host's clock from the
call to the end of the wait; back to back, events around many launches show whichever is slower, the host that makes
them or the device that starts them; in a graph only the device is left.
"""

from functools import partial

from bench.measure.device.protocol import Device, Kernel
from bench.measure.probes import Cases, probe
from bench.schema import Case, DeviceInfo, Setup
from bench.work import Work


def empty_twin(n):
    pass


def kernel() -> Kernel:
    return Kernel("empty", "empty", empty_twin, elements=0, per_thread=1, threads=32)


@probe(version=1, title="Kernel launch")
def launch(info: DeviceInfo, budget) -> Cases:
    """What does a launch cost before it does anything?

    An empty kernel. Synchronous: the host's clock from call to end of wait. Back to back: events around many
    launches, queued freely. Graph: events around a graph of as many nodes. Everywhere else the host is kept out of
    the time: launches are queued behind a held stream, then timed.
    """
    if not info.launches:
        yield Case(params={"way": ""}, work=Work(), skip="nothing is launched on this device: its kernels are called")
    for way in info.launches:
        yield Case(params={"way": way}, work=Work(), prepare=_prepare, repeat=True, cache="hot", timing=way, family=way)


def _prepare(device: Device) -> Setup:
    return Setup([partial(device.load(kernel()), 1)])
