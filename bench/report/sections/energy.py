"""Energy under lasting load: what a flop and a byte cost, and where arithmetic outweighs moving bytes."""

from collections.abc import Sequence
from functools import partial

import plotly.graph_objects as go

from bench import units
from bench.analysis import names
from bench.analysis.fit import Energy, EnergyCost, Fit, energy_costs, no_energy
from bench.report.document import Column, Section, Table, table
from bench.report.phrases import listed, spread, texts
from bench.report.plots import sweep, theme
from bench.report.sections import RunView, Sentences, plot
from bench.work import RoofKey

_CAPTION = (
    "E(I) = e_flop + e_byte / I (Choi, Bedard, Fowler, Vuduc: A Roofline Model of Energy, IPDPS 2013), e_byte of DRAM."
    " Idle power is inside both terms, so the sum is an upper bound. Marks: the balance e_byte / e_flop."
)
_QUESTION = "How much energy do a flop and a byte take, and where does arithmetic begin to outweigh moving?"
_FORMULA = "Energy of a launch = difference of the driver's counter / launches, over seconds of load."


def section(view: RunView) -> Section | None:
    """None where only a probe or two were measured: who asked for those did not ask for energy."""
    fit = view.fit
    if not fit.sustained and not {"peak", "bandwidth"} <= set(view.every["probe"]):
        return None
    known, (why, words) = fit.energy, no_energy(fit)
    missing = f"Not measured: {texts('energy').get(why)}{f' ({words})' if words else ''}."
    findings, notes = (_findings(fit), _notes(fit)) if known else ([missing], ())
    plots = plot("energy-0", "Energy per flop over arithmetic intensity", figure(energy_costs(fit)), _CAPTION)
    return Section("energy", "Energy", _QUESTION, _FORMULA, findings, plots, [_table(fit)], notes, "Energy")


def _findings(fit: Fit) -> Sentences:
    known = fit.energy
    if lead := known.get(fit.info.headline):
        per, rate = names.per(lead.key), fit.lasting(lead.key).roof.rate
        cost = f"{units.joules(lead.joules.value, per)} ({_spread(lead)}) at {units.watts(lead.watts)}"
        yield f"{names.roof(lead.key)} sustained costs {cost}: {units.rate_text(rate / lead.watts, lead.key)} per watt."
    if channels := [key for key in known if not RoofKey(key).is_compute]:
        moved = [f"{units.joules(known[key].joules.value, 'B')} from {names.channel(key)}" for key in channels]
        yield f"Bytes cost {listed(moved)}."
    ridge = fit.lasting_headline
    for cost in energy_costs(fit) if ridge and lead else ():
        if cost.flop.key == lead.key:
            nearer = cost.balance / ridge.estimate.value
            side = "near" if 0.8 < nearer < 1.25 else "above" if nearer > 1 else "below"
            time, balance = units.intensity(ridge.estimate.value), units.intensity(cost.balance)
            yield f"The energy balance, {balance}, lies {side} the sustained ridge of time, {time}."


def _notes(fit: Fit) -> Sentences:
    if balances := [f"{names.dtype(cost.dtype)} {units.digits(cost.balance)}" for cost in energy_costs(fit)]:
        yield f"Balance, below which a flop's bytes cost more than the flop, in FLOP/B: {listed(balances)}."
    step = max(each.fineness for each in fit.energy.values())
    yield f"The driver's counter goes up in steps: each value may be off by {units.percent(step, 2)} for that alone."


def _spread(cost: Energy) -> str:
    return spread(cost.joules, partial(units.joules, per=names.per(cost.key)))


def _table(fit: Fit) -> Table:
    rows = []
    for key, each in fit.energy.items():
        about = {"key": key, "per": names.per(key), "joules": each.joules.value, "interval": _spread(each)}
        rate = fit.lasting(key).roof.rate
        rows.append(about | {"n": each.joules.n, "watts": each.watts, "rate": rate, "each": rate / each.watts})
    columns = [Column("roof", "key", names.roof), "key", Column("energy", "joules", units.joules, by="per", unit="J")]
    columns += ["interval", "n", Column("power", "watts", units.watts, unit="W")]
    columns += [Column("sustained", "rate", units.rate_text, by="key")]
    columns += [Column("per watt", "each", lambda value, key: f"{units.rate_text(value, key)}/W", by="key")]
    return table("energy-costs", "Energy of every roof under lasting load", rows, *columns)


def figure(costs: Sequence[EnergyCost]) -> go.Figure | None:
    """E(I) = e_flop + e_byte / I per dtype, with the balance where both terms are equal."""
    if not costs:
        return None
    low, high = min(cost.balance for cost in costs) / 30, max(cost.balance for cost in costs) * 30
    xs, traces = [low * (high / low) ** (step / 60) for step in range(61)], []
    for index, cost in enumerate(costs):
        colour, flop = theme.SERIES[index % len(theme.SERIES)], cost.flop.joules.value
        name, per, ys = names.quantity(cost.flop.key), names.per(cost.flop.key), list(map(cost.joules, xs))
        parts = [f"{units.joules(y, per)}, {units.percent(flop / y, 2)} arithmetic" for y in ys]
        hover = [f"<b>{name}</b> at {units.intensity(x)}<br>{part}" for x, part in zip(xs, parts, strict=True)]
        look = {"color": colour, "width": 1.8, "dash": theme.DASHES[index % len(theme.DASHES)]}
        traces.append(theme.line(name, xs, ys, colour, hover, mode="lines", line=look))
        text = f"<b>{name}: balance {units.intensity(cost.balance)}</b><br>{units.joules(2 * flop, per)}<extra></extra>"
        look = {"symbol": theme.MARKERS[index % len(theme.MARKERS)], "size": 9, "color": colour}
        about = {"name": "balance" if not index else name, "showlegend": not index, "meta": "balance"}
        about |= {"mode": "markers", "marker": look, "hovertemplate": text}
        traces.append(theme.scatter(x=[cost.balance], y=[2 * flop], **about))
    over = partial(theme.log_axis, "Arithmetic intensity (FLOP/B)", text=theme.plain)
    each = partial(theme.log_axis, "Energy per FLOP (OP for integers)", text=partial(units.joules, significant=1))
    return sweep.figure(traces, over, each, height=440).made()
