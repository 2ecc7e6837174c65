"""A gate's texts and numbers as formats of other programs take them: one printable line, no exponent."""


def line(text: str, most: int = 400) -> str:
    """Foreign text as one printable line: whatever would steer a terminal, a parser or a log is left out."""
    joined = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return joined if len(joined) <= most else f"{joined[: most - 1].rstrip()}…"


def name(text: str) -> str:
    """What something is called, as a label that is never empty."""
    return line(text, 120) or "–"


def decimal(number: float) -> str:
    """Digits and a point, no exponent; more than a dozen places of a second are below a clock's tick."""
    return f"{number:.12f}".rstrip("0").rstrip(".") if abs(number) < 1e3 else f"{number:.0f}"
