"""Numbers inside a claim's sentences: `{0:s}` is a time, `{0:B}` bytes, `{0:%}` a share; all spelled by bench.units."""

from bench import units


def amount(value: float) -> str:
    """A bare number: whole ones in full, with a comma every three digits."""
    if abs(value) >= 1e7:
        return units.number(value, 4)
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return units.digits(value)


_SPELLED = {
    "": amount,
    "B": lambda v: units.bandwidth(v).removesuffix("/s"),
    "FLOP": lambda v: units.flops(v, 4).removesuffix("/s"),
    "B/s": units.bandwidth,
    "FLOP/s": units.flops,
    "I": units.intensity,
    "s": units.seconds,
    "h": lambda v: f"{units.digits(v / 3600)} h",
    "%": units.percent,
    "size": units.size,
    "J": units.joules,
    "W": units.watts,
    "ratio": lambda v: units.digits(v),
}


class Shown(float):
    """A number that a template prints in a unit."""

    def __format__(self, unit: str) -> str:
        return _SPELLED[unit](float(self))


def filled(template: str, values: tuple[float, ...]) -> str:
    return template.format(*map(Shown, values))
