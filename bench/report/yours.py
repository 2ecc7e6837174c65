"""A reader's own kernels: their table and what it says."""

from collections.abc import Sequence

from bench import units
from bench.analysis.placed import Placed
from bench.report import names, words
from bench.report.tables import Cell, Column, Table


def table(placed: Sequence[Placed]) -> Table:
    """A reader's own kernels: demand, rate, share of what the roofs allow, and what limits them."""
    columns = (
        Column("kernel"),
        Column("flops", True, "FLOP"),
        Column("bytes", True, "B"),
        Column("intensity", True, "FLOP/B"),
        Column("time", True, "s"),
        Column("compute", True, "FLOP/s"),
        Column("traffic", True, "B/s"),
        Column("% of roof", True),
        Column("limited by"),
        Column("note"),
    )
    return Table("yours", "Your kernels", columns, tuple(_yours(each) for each in placed))


def _yours(each: Placed) -> tuple[Cell, ...]:
    work, seconds, none = each.kernel.work, each.kernel.seconds, Cell("–")
    lacking = f"this Run has no roof for {words.listed([names.quantity(key) for key in each.lacking])}"
    note = (
        Cell("above its roof: a wrong count, a warm cache, or a roof under-measured", mark="suspect")
        if each.above
        else Cell(lacking, mark="skip")
        if each.lacking
        else Cell("")
    )
    flop_rate, byte_rate = work.flops / seconds, work.bytes / seconds
    return (
        Cell(each.kernel.name, each.kernel.name),
        Cell(units.number(work.flops), work.flops) if work.flops else none,
        Cell(units.size(work.bytes), work.bytes) if work.bytes else none,
        Cell(units.intensity(work.intensity), work.intensity) if work.flops and work.bytes else none,
        Cell(units.seconds(seconds), seconds),
        Cell(units.rate_text(flop_rate, f"{work.compute}.x"), flop_rate) if work.flops else none,
        Cell(units.bandwidth(byte_rate), byte_rate) if work.bytes else none,
        Cell(units.percent(each.share), each.share) if each.share is not None else none,
        Cell(names.limiter(each.limit)) if each.limit else none,
        note,
    )


def paragraph(placed: Sequence[Placed]) -> str:
    """Your kernels in a paragraph: the nearest to its roof, the farthest, what is above and what cannot be judged."""
    if not placed:
        return ""
    judged = [each for each in placed if each.share is not None]
    text = f"{words.many(len(placed), 'kernel')} of yours."
    sound = [each for each in judged if not each.above]
    if sound:
        best, worst = max(sound, key=lambda each: each.share or 0.0), min(sound, key=lambda each: each.share or 0.0)
        text += (
            f" {best.kernel.name} comes nearest to its roof, {units.percent(best.share or 0.0)} of it, limited by"
            f" {names.limiter(best.limit)}."
        )
        if worst is not best:
            gain = 1 / (worst.share or 1.0)
            text += (
                f" {worst.kernel.name} is farthest, {units.percent(worst.share or 0.0)}, limited by"
                f" {names.limiter(worst.limit)}: its roof allows {units.digits(gain)} times its speed."
            )
    above = [each for each in judged if each.above]
    if above:
        which = words.listed([each.kernel.name for each in above[:3]]) + " and more" * (len(above) > 3)
        most = units.percent(max(each.share or 0.0 for each in above))
        text += (
            f" {which} {'lies' if len(above) == 1 else 'lie'} above the roof, {most} at most: flops or bytes are"
            " miscounted, data stayed in a cache, or the roof was under-measured."
        )
    lacking = [each for each in placed if each.lacking]
    if lacking:
        keys = dict.fromkeys(key for each in lacking for key in each.lacking)
        what = words.listed([names.quantity(key) for key in keys])
        text += f" No share for {words.many(len(lacking), 'kernel')}: this Run has no roof for {what}."
    moving = [each for each in placed if not each.kernel.work.flops]
    if moving:
        have = "has" if len(moving) == 1 else "have"
        text += f" {words.many(len(moving), 'kernel')} without arithmetic {have} no place in the figure."
    return text
