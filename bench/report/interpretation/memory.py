"""What the rates and the latency of memory mean, level by level."""

from collections.abc import Iterator

import pandas as pd

from bench import units
from bench.analysis.compare import at_clock
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.interpretation.claims import of_theory, settled
from bench.report.levels import chases, plateaus
from bench.report.selections import streams
from bench.report.words import listed, rate_spread
from bench.roofline import Roofline


def bandwidth(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    roof = fit.roofs.get("dram")
    if roof:
        rate = roof.roof
        mix = roof.winner.params.get("mix", "")
        yield (
            f"DRAM delivers {units.bandwidth(rate.rate)} ({rate_spread(rate)}){of_theory('dram', rate.rate, theory)}; "
            f"the best mix is {mix}."
        )
        if roof.rivals:
            worst, slow = min(roof.rivals, key=lambda rival: rival[1])
            yield f"The slowest mix, {worst.params.get('mix', '')}, reaches {units.percent(slow / rate.rate)} of that."
        yield from settled("dram", fit)
    elif "dram" in fit.missing:
        yield f"There is no DRAM roof: {fit.missing['dram']}."
    caches = [roof for roof in fit.roofline.roofs if roof.key in {cache.name for cache in fit.info.caches}]
    if caches:
        parts = [f"{names.channel(c.key)} {units.bandwidth(c.rate)}" for c in caches]
        times = f", {units.digits(caches[0].rate / roof.roof.rate, 2)} times DRAM at the innermost" if roof else ""
        yield f"Cached working sets are served faster: {listed(parts)}{times}."
    missing = [cache.name for cache in fit.info.caches if cache.name in fit.missing]
    if missing:
        yield (
            f"{listed([names.channel(name) for name in missing])} {'has' if len(missing) == 1 else 'have'} no roof here"
            " (see skips)."
        )
    yield from _enough(rows, fit)
    plain = frame.sound(rows, "bandwidth", store="plain", cache="cold", mix="copy")
    streaming = frame.sound(rows, "bandwidth", store="streaming", cache="cold", mix="copy")
    if (
        len(plain)
        and len(streaming)
        and plain["params"].iloc[0].get("bytes") == streaming["params"].iloc[0].get("bytes")
    ):
        ratio = plain["byte_rate"].iloc[0] / streaming["byte_rate"].iloc[0]
        why = ": a plain store first fetches the line that it overwrites" if ratio < 0.97 else ""
        yield f"A copy with plain stores moves {units.percent(ratio)} of what one with streaming stores moves{why}."
    if fit.roofline.overhead:
        yield (
            f"A launch costs {units.seconds(fit.roofline.overhead)} beyond its bytes, which the fitted rates leave out."
        )


def _enough(rows: pd.DataFrame, fit: Fit) -> Iterator[str]:
    """How large a cold copy must be before it sees the roof."""
    roof = fit.roofline.find("dram")
    cold = streams(rows)
    cold = cold[(cold["cache"] == "cold") & (cold["mix"] == "copy") & ~cold["plain"].astype(bool)]
    if roof is None or len(cold) < 4:
        return
    ordered = sorted((row.params["bytes"], row.byte_rate) for row in frame.each(cold))
    fastest = max(rate for _, rate in ordered)
    if fastest > 1.1 * roof.rate:
        yield (
            f"Smaller cold copies go beyond the roof, up to {units.percent(fastest / roof.rate)} of it: either"
            " the roof was taken at a slower moment, or part of them stayed in a cache."
        )
        return
    reached = next(
        (size for i, (size, _) in enumerate(ordered) if all(rate >= 0.9 * roof.rate for _, rate in ordered[i:])), None
    )
    if reached == ordered[0][0]:
        yield f"Every cold copy, down to {units.size(reached)} a launch, stays within a tenth of the roof."
    elif reached:
        yield f"A cold copy needs {units.size(reached)} a launch to come within a tenth of the roof for good."


def onchip(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    """Each multiprocessor's own memory, added up and per clock."""
    roofs = [fit.roofs[channel] for channel in fit.info.onchip if channel in fit.roofs]
    for fitted in roofs:
        roof, clock = fitted.roof, fitted.winner.clock_hz
        text = (
            f"{_upper(names.channel(roof.key))} delivers {units.bandwidth(roof.rate)} over"
            f" {fit.info.sms} multiprocessors ({rate_spread(roof)}){of_theory(roof.key, roof.rate, theory)}"
        )
        if each := per_clock(roof.rate, fit, clock):
            text += f"; at the observed {units.hertz(clock or 0.0)} that is {units.digits(each)} B per clock and each"
            if claim := per_clock(at_clock(fit.info, roof.key, clock), fit, clock):
                text += f", where its data path has {units.digits(claim)}"
        yield f"{text}."
    if roofs and not any(fitted.winner.clock_hz for fitted in roofs):
        yield "No clock was read beside them, so bytes per clock are not known."
    for channel in fit.info.onchip:
        if channel in fit.missing:
            yield f"There is no roof for {names.channel(channel)}: {fit.missing[channel]}."


def per_clock(rate: float | None, fit: Fit, clock: float | None) -> float | None:
    """Bytes per clock and multiprocessor, where both are known."""
    return rate / clock / fit.info.sms if rate and clock and fit.info.sms else None


def latency(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    """The plateaus by name, and what lies beyond the last one."""
    found = plateaus(rows, fit.info)
    if not found:
        if len(chases(rows)):
            yield "No measured working set lies well inside a level, so that no plateau can be named."
        return
    parts = []
    for plateau in found:
        cycles = f" ({plateau.cycles:.0f} cycles)" if plateau.cycles else ""
        parts.append(f"{units.seconds(plateau.seconds)}{cycles} in {names.channel(plateau.level.name)}")
    yield (
        f"A load that waits for the one before it takes {listed(parts)}: the median of the working sets well inside"
        " each level."
    )
    if len(found) > 1:
        first, last = found[0], found[-1]
        yield (
            f"From {names.channel(first.level.name)} to {names.channel(last.level.name)} it grows"
            f" {units.digits(last.seconds / first.seconds)}-fold."
        )
    seen = chases(rows)
    worst = seen.iloc[-1]
    if found[-1].level.name == "dram" and worst["load"] > 1.15 * found[-1].seconds:
        yield (
            f"The largest set, {units.size(worst['size'])}, takes {units.seconds(worst['load'])}: beyond the last cache"
            " the translation of addresses (TLB) misses too."
        )


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
