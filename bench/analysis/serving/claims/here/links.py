"""Claims about links and collectives, by the measured all-reduces."""

from bench.analysis.serving import formulas
from bench.analysis.serving.claims.evidence import DEPENDS, FAR, NEAR, RIGHT, WRONG, Evidence, MissingProbe, within
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest
from bench.analysis.serving.claims.reference import anchors, numbers
from bench.analysis.serving.claims.words import filled
from bench.analysis.serving.curves import Messages
from bench.stats import quantile
from bench.work import all_reduce


def curve(subject: MachineUnderTest) -> Messages:
    """The all-reduce of the most ranks."""
    subject.cases("allreduce")
    found = max(subject.machine.curves.reduce, key=lambda each: each.ranks, default=None)
    if found is None:
        raise MissingProbe("allreduce")
    return found


def efficiency(subject: MachineUnderTest) -> Evidence:
    """What the latency of two all-reduces per layer leaves of several devices, for a small and a large model."""
    reduce = curve(subject)
    kept = []
    for size in ("8B", "70B"):
        shape = anchors.llama(size)
        single = anchors.streamed(shape) / subject.bandwidth
        kept.append(formulas.tensor_efficiency(reduce.ranks, shape.layers, reduce(shape.width * 2), single))
    text = filled("{0:} devices: {1:%} of linear for 8B, {2:%} for 70B, at {3:s} per all-reduce of a token",
                  (reduce.ranks, *kept, reduce(8192)))  # fmt: skip
    # the claim is about 4 to 8 devices
    verdict = within(0.75, 0.9, kept) if reduce.ranks >= 4 else ""
    return Evidence(text, verdict, "the model's size and the all-reduce's latency")


def speedup(subject: MachineUnderTest) -> Evidence:
    """The same for a claim that names no number: how far from linear is communication's doing."""
    found = efficiency(subject)
    return Evidence(found.text, "", found.depends_on)


def per_step(subject: MachineUnderTest) -> Evidence:
    """64 small all-reduces beside the weights that each of the devices reads, and the large message."""
    reduce, seven = curve(subject), anchors.llama("7B")
    small = 2 * seven.layers * reduce(numbers()["IL-28"][1])
    large, read = reduce(numbers()["IL-28"][0]), anchors.streamed(seven) / subject.bandwidth / reduce.ranks
    text = filled("{0:} devices: 64 all-reduces of 8 KiB take {1:s} beside {2:s} of weights; one of 134 MB {3:s}",
                  (reduce.ranks, small, read, large))  # fmt: skip
    share = small / read
    verdict = RIGHT if share < NEAR - 1 else WRONG if share > FAR else DEPENDS
    return Evidence(text, verdict, filled("latency: {0:ratio} times the weights' time", (share,)))


def jitter(subject: MachineUnderTest) -> Evidence:
    """The spread of one small all-reduce, and what the link's rate has to do with its time."""
    reduce = curve(subject)
    found = [c for c in subject.cases("allreduce") if c.params["bytes"] <= 16384 and len(c.samples) >= 100]
    if not found:
        raise MissingProbe("allreduce")
    case = max(found, key=lambda each: (each.params["bytes"], each.params.get("algorithm") == "default"))
    middle, tail = (quantile(sorted(case.samples), q) for q in (0.5, 0.99))
    link = subject.fit.roofline.find("link")
    rate = link.rate if link else all_reduce(reduce.largest, reduce.ranks).bytes / reduce(reduce.largest)
    share = all_reduce(case.params["bytes"], reduce.ranks).bytes / rate / middle
    text = filled("{0:} B: p50 {1:s}, p99 {2:s}, max {3:s}; the link's rate explains {4:%} of it",
                  (case.params["bytes"], middle, tail, max(case.samples), share))  # fmt: skip
    return Evidence(text, RIGHT if share < 0.5 else WRONG, "the message: the rate decides for large ones")


def between_devices(subject: MachineUnderTest) -> Evidence:
    """Bytes of routing against the arithmetic of the same token, over the measured link."""
    subject.cases("allreduce")
    link = subject.fit.roofline.find("link")
    reduce = curve(subject)
    rate = link.rate if link else all_reduce(reduce.largest, reduce.ranks).bytes / reduce(reduce.largest)
    sent = numbers()["RP-12"][0] / rate
    compute = numbers()["RP-12"][2] * anchors.peak(anchors.H100, "float8_e4m3") / subject.peak
    text = filled("{0:s} per token at {1:B/s} against {2:s} of arithmetic", (sent, rate, compute))
    return Evidence(text, RIGHT if sent > NEAR * compute else WRONG if compute > FAR * sent else DEPENDS,
                 filled("the link: {0:B/s} would balance them", (numbers()["RP-12"][0] / compute,)))  # fmt: skip
