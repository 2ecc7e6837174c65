"""A reader's own kernels: how near each comes to what this machine allows, and what limits it."""

from collections.abc import Iterator, Sequence

from bench import units
from bench.analysis import names
from bench.analysis.user_kernels import RooflinePoint
from bench.report.document import SKIP, WARN, Column, Finding, Section, table
from bench.report.phrases import listed, many, plain
from bench.report.plots.points import possible
from bench.report.sections import RATES, RunView


def section(view: RunView) -> Section | None:
    """None without kernels; the lead figure draws them."""
    if not view.kernels:
        return None
    columns = [Column("kernel", "name"), Column("flops", text=units.number, unit="FLOP")]
    columns += [Column("bytes", text=units.size, unit="B"), Column("intensity", text=units.intensity, unit="FLOP/B")]
    columns += [*RATES, Column("% of roof", "share", units.percent)]
    columns += [Column("possible", text=lambda times: f"× {units.digits(times)}")]
    columns += [Column("limited by", "limit", names.limiter), Column("note", mark="mark")]
    made = table("kernels", "Your kernels", map(_record, view.kernels), *columns, folded=False)
    question = "How near do they come to what this machine allows?"
    formula = "share = time that the measured roofs allow, launch overhead included / time taken."
    return Section("user-kernels", "Your kernels", question, formula, _findings(view.kernels), tables=[made])


def _record(each: RooflinePoint) -> dict:
    work, seconds = each.kernel.work, each.kernel.seconds
    found = {"name": each.kernel.name, "seconds": seconds, "share": each.share, "limit": each.limit}
    found |= {"possible": each.possible} if each.possible > 1 else {}
    if work.flops:
        found |= {"flops": work.flops, "flop_rate": work.flops / seconds, "compute": work.compute}
    if work.bytes:
        found |= {"bytes": work.bytes, "byte_rate": work.bytes / seconds}
        found |= {"intensity": work.intensity} if work.flops else {}
    if each.above:
        return found | {"note": "above its roof: a wrong count, a warm cache, or a roof under-measured", "mark": WARN}
    return found | ({"note": f"this Run has no roof for {_lacking([each])}", "mark": SKIP} if each.lacking else {})


def _findings(placed: Sequence[RooflinePoint]) -> Iterator[Finding]:
    """The farthest from its roof, what cannot be right, the nearest, and what cannot be judged."""
    usable = sorted((each for each in placed if each.share and not each.above), key=lambda each: each.share)
    if usable:
        more = f": {possible(usable[0])}" if possible(usable[0]) else ""
        yield Finding(f"{_near(usable[0], 'is farthest from' if usable[1:] else 'is at')}{more}.")
    if above := [each for each in placed if each.above]:
        which = listed([plain(each.kernel.name) for each in above], 2)
        share = units.percent(max(each.share for each in above))
        lie = "lies above its roof" if len(above) == 1 else "lie above their roofs"
        yield Finding(f"{which} {lie}, {share}: miscounted work, a warm cache, or an under-measured roof.", WARN)
    if usable[1:]:
        yield Finding(f"{_near(usable[-1], 'comes nearest to')}.")
    if lacking := [each for each in placed if each.lacking]:
        count = many(len(lacking), "kernel")
        yield Finding(f"No share for {count}: this Run has no roof for {_lacking(lacking)}.", WARN)
    if moving := sum(not each.kernel.work.flops for each in placed):
        have = "has" if moving == 1 else "have"
        yield Finding(f"{many(moving, 'kernel')} without arithmetic {have} no place in the figure.")


def _near(each: RooflinePoint, how: str) -> str:
    share = f"{units.percent(each.share)} of {names.limiter(each.limit)}"
    return f"{plain(each.kernel.name)} {how} its roof, {share}"


def _lacking(placed: Sequence[RooflinePoint]) -> str:
    return listed(list(dict.fromkeys(plain(names.quantity(key)) for each in placed for key in each.lacking)), 3)
