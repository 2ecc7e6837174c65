"""A Run beside an older one: which device is compared with which, what changed, and when nothing may be said."""

import math
from collections.abc import Sequence

from bench import units
from bench.analysis.difference import Against, Difference, Pair, differences
from bench.analysis.fit import Fit
from bench.report import names, words
from bench.schema import SUSTAINED, Run


def against(run: Run, baseline: Run | None) -> Against | None:
    """A Run beside an older one."""
    return differences((baseline, run))[0] if baseline else None


def ghost(against: Against | None, chosen: Fit | None) -> Fit | None:
    """The baseline's device, where it may be laid under the shown one."""
    earlier = before(against, chosen)
    return earlier.reference if earlier and comparable(against) else None


def before(against: Against | None, chosen: Fit | None) -> Pair | None:
    """The device of the baseline that the shown one is compared with."""
    if against is None or chosen is None:
        return None
    return next((pair for pair in against.pairs if pair.other is chosen and pair.matched != "against the first"), None)


def comparable(against: Against | None) -> bool:
    """Whether a change would be the machine's: not between a measured and a simulated Run, nor between products."""
    return against is not None and against.kinship not in (
        "different machines",
        "a simulated Run beside a measured one",
        "the same Run",
    )


def change(before: Pair | None, fits: Sequence[Fit], kind: str, key: str) -> str:
    """A tile's line about the baseline: "−10.1 % since the baseline (95 % interval −10.9 % to −9.3 %)"."""
    if before is None:
        return ""
    found = next((d for d in before.of(kind) if d.key == key and d.regime != SUSTAINED), None)
    who = f" ({names.device(before.other.info.id)})" if len(fits) > 1 else ""
    return f"{_changed(found)}{who}" if found else ""


def _changed(found: Difference) -> str:
    if found.interval is None or found.ratio is None:
        return f"baseline: not compared, {found.reason}"
    if not found.differs:
        return f"no change beyond the interval ({_signed(found.ratio)})"
    low, high = (_signed(bound) for bound in found.interval)
    return f"{_signed(found.ratio)} since the baseline ({found.basis} {low} to {high})"


def _signed(ratio: float) -> str:
    if not 0.5 < ratio < 2:
        return f"× {units.digits(ratio)}"
    size = f"{abs(ratio - 1) * 100:.1f}"
    return f"{'' if size == '0.0' else '−' if ratio < 1 else '+'}{size} %"


def beside(against: Against, before: Pair | None) -> str:
    """What the baseline is, and what may be said of a change since."""
    about = against.reference.environment
    which = f"The baseline is the Run of {about.started[:16].replace('T', ' ')} UTC"
    if not comparable(against):
        why = "it is this very Run" if against.kinship == "the same Run" else f"they are {against.kinship}"
        return f"{which}; nothing is compared with it, because {why}."
    if before is None:
        return f"{which}; nothing is compared with it, because it has no such device."
    text = f"{which}, {before.matched}: {against.kinship}."
    heads = [d for d in before.of("roof", "ridge") if d.headline]
    apart = [d for d in heads if d.differs]
    if apart:
        # a ridge moves because its roofs do
        causes = [d for d in apart if d.kind == "roof"] or apart
        worst = max(causes, key=lambda d: abs(math.log(d.ratio or 1.0)))
        what = names.roof(worst.key) if worst.kind == "roof" else "the ridge"
        lasting = ", sustained," if worst.regime == SUSTAINED else ""
        others = f", and {words.many(len(apart) - 1, 'other headline')} changed" if len(apart) > 1 else ""
        text += f" {what[0].upper()}{what[1:]}{lasting} changed most: {_signed(worst.ratio or 1.0)}{others}."
    elif any(d.judged for d in heads):
        text += " No headline changed beyond its interval."
    left = [d for d in heads if not d.judged]
    if left:
        reasons = "; ".join(dict.fromkeys(d.reason for d in left))
        text += f" Not compared: {words.listed([names.roof(d.key.partition('/')[0]) for d in left])} ({reasons})."
    return text
