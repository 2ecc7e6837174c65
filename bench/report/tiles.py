"""The verdict strip: the headline roofs and the ridge, each as value, interval, share of theory and change."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench import units
from bench.analysis.difference import Pair
from bench.analysis.fit import Fit
from bench.report import names, words
from bench.report.baseline import change
from bench.report.figures.ridges import claimed_ridge
from bench.roofline import Roofline


@dataclass(frozen=True)
class Tile:
    """A headline number: what, how much, how sure, and its share of theory."""

    name: str
    value: str
    spread: str
    theory: str
    doubt: str = ""
    sustained: str = ""
    change: str = ""


def tiles(fits: Sequence[Fit], chosen: Fit | None, theory: Roofline | None, before: Pair | None) -> list[Tile]:
    """Of the shown device; of several devices the median. before: the baseline's device, to state changes from."""
    if chosen is None:
        return []
    made = []
    for key in headlines(chosen):
        roof = chosen.roofs[key].roof
        rates = [other.roofs[key].roof.rate for other in fits if key in other.roofs]
        claim = theory.find(key) or theory.find(roof.quantity) if theory else None
        value, spread = roof.rate, words.rate_spread(roof)
        if len(rates) > 1:
            value = median(rates)
            spread = (
                f"median of {len(rates)} GPUs,"
                f" {units.between(min(rates), max(rates), lambda v, key=key: units.rate_text(v, key))}"
            )
        share = f"{units.percent(value / claim.rate)} of theory" if claim else "no theory for it"
        made.append(
            Tile(
                names.roof(key),
                units.rate_text(value, key),
                spread,
                share,
                chosen.roofs[key].winner.validity.replace("valid", ""),
                _sustained(fits, chosen, key),
                change(before, fits, "roof", key),
            )
        )
    ridge = chosen.headline
    if ridge:
        value, claimed = ridge.estimate, claimed_ridge(chosen, theory)
        share = f"theory {units.intensity(claimed)}" if claimed else "no theory for it"
        who = f", {names.device(chosen.info.id)}" if len(fits) > 1 else ""
        name = f"Ridge: {names.quantity(ridge.compute)} / {names.channel(ridge.memory)}"
        lasting = chosen.sustained.headline if chosen.sustained else None
        after = f"sustained {units.intensity(lasting.estimate.value)}" if lasting else ""
        spread = words.spread(value, units.digits) + who
        moved = change(before, fits, "ridge", f"{ridge.compute}/{ridge.memory}")
        made.insert(2, Tile(name, units.intensity(value.value), spread, share, sustained=after, change=moved))
    return made


def _sustained(fits: Sequence[Fit], chosen: Fit, key: str) -> str:
    """A tile's line about lasting load: "sustained 701 TFLOP/s, 88.9 % of burst"."""
    lasting = chosen.sustained.roofs.get(key) if chosen.sustained else None
    if lasting is None:
        return ""
    who = f" ({names.device(chosen.info.id)})" if len(fits) > 1 else ""
    share = units.percent(lasting.roof.rate / chosen.roofs[key].roof.rate)
    return f"sustained {units.rate_text(lasting.roof.rate, key)}, {share} of burst{who}"


def headlines(fit: Fit) -> list[str]:
    """The roofs that the verdict leads with: memory, the headline, the plain loop, the fastest dtype, the link."""
    fastest = max(
        # by the method that states its unit: a tensor loop is no kernel's to reach
        (r for r in fit.roofline.roofs if r.is_compute and ".int" not in r.key and fit.roofline.find(r.quantity) is r),
        key=lambda r: r.rate,
        default=None,
    )
    wanted = ["dram", fit.info.headline, "vector.float32.loop", fastest.key if fastest else "", "link"]
    return [key for key in dict.fromkeys(wanted) if key in fit.roofs]
