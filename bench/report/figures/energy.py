"""The energy roofline: joules per flop over arithmetic intensity, falling to what a flop costs by itself."""

from collections.abc import Sequence

import plotly.graph_objects as go

from bench import units
from bench.report import names
from bench.report.energy import Cost
from bench.report.figures import style

_STEPS = 60


def energy(costs: Sequence[Cost]) -> go.Figure | None:
    """E(I) = e_flop + e_byte / I per dtype, with the balance where both terms are equal."""
    costs = costs[: len(style.SERIES)]
    if not costs:
        return None
    low = min(cost.balance for cost in costs) / 30
    high = max(cost.balance for cost in costs) * 30
    xs = [low * (high / low) ** (step / _STEPS) for step in range(_STEPS + 1)]
    flops = [cost.flop.joules.value for cost in costs]
    fig = style.figure(440)
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", low, high, style.plain))
    fig.update_yaxes(
        style.log_axis(
            "Energy per FLOP (OP for integers)",
            min(flops) / 2,
            costs[0].byte.joules.value / low * 1.5,
            lambda value: units.joules(value, significant=1),
        )
    )
    for index, cost in enumerate(costs):
        colour, marker = style.SERIES[index], style.MARKERS[index]
        name, per = names.quantity(cost.flop.key), names.per(cost.flop.key)
        hover = [
            f"<b>{name}</b> at {units.intensity(x)}<br>{units.joules(cost.joules(x), per)}, of which"
            f" {units.percent(cost.flop.joules.value / cost.joules(x), 2)} arithmetic"
            for x in xs
        ]
        fig.add_trace(
            style.line(
                name,
                xs,
                [cost.joules(x) for x in xs],
                colour,
                hover,
                mode="lines",
                line={"color": colour, "width": 1.8, "dash": style.DASHES[index % len(style.DASHES)]},
            )
        )
        text = (
            f"<b>{name}: balance {units.intensity(cost.balance)}</b><br>{units.joules(2 * cost.flop.joules.value, per)}"
        )
        fig.add_trace(
            style.scatter(
                x=[cost.balance],
                y=[2 * cost.flop.joules.value],
                mode="markers",
                name="balance" if not index else name,
                showlegend=not index,
                marker={"symbol": marker, "size": 9, "color": colour},
                hovertemplate=f"{text}<extra></extra>",
                meta="balance",
            )
        )
    return fig.made()
