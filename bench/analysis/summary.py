"""A Run's measurements as one row per case: its repetitions together, skips and failures included."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.schema import CONFIRM, FIRST_ROUND, SUSTAINED, Measurement
from bench.stats import Estimate, estimate
from bench.work import Work

# Seconds between two readings of an energy counter that tell anything, and the longest of its steps (arXiv 2312.02741).
LEAST_ENERGY, ENERGY_STEP = 3.0, 0.1
# What every measurement of a case has in common.
_SAME = ("device", "probe", "version", "params", "work", "cache")


@dataclass(frozen=True)
class Summary:
    """One case of one device. seconds: per launch, over the repetitions that count; None without a sound one. medians:
    repetition -> median seconds of the sound ones. samples: all seconds of the last repetition (the tail of a
    collective). validity: the worst of what counts; causes: why, or why there is nothing. lost: unsound rounds. joules:
    energy per launch over the repetitions that count, where the device counts it and the load lasted; fineness: the
    most that one of them may be wrong by because the counter steps, as a share. telemetry: of each repetition that
    counts, in order.
    """

    device: str
    probe: str
    version: int
    params: Mapping[str, Any]
    work: Work
    cache: str
    regime: str
    saturates: str
    medians: Mapping[int, float]
    seconds: Estimate | None
    samples: tuple[float, ...]
    clock_hz: float | None
    validity: str
    causes: tuple[str, ...]
    skip: str
    notes: Mapping[str, str]
    lost: int = 0
    joules: Estimate | None = None
    fineness: float = 0.0
    telemetry: tuple[Mapping[str, Any], ...] = ()

    @property
    def flop_rate(self) -> float | None:
        """FLOP/s, or None without time or flops."""
        return self.work.flops / self.seconds.value if self.seconds and self.work.flops else None

    @property
    def byte_rate(self) -> float | None:
        """B/s, or None without time or bytes."""
        return self.work.bytes / self.seconds.value if self.seconds and self.work.bytes else None


def summaries(measurements: Iterable[Measurement]) -> tuple[Summary, ...]:
    """One Summary per (device, case, regime), in the order of first appearance; burst and steady are one. A gate's
    re-measurements of suspects are its own and not among them.
    """
    grouped: dict[Any, list[Measurement]] = {}
    for m in measurements:
        if m.repetition < CONFIRM:
            grouped.setdefault((m.device, m.key, m.regime == SUSTAINED), []).append(m)
    return tuple(map(_summary, grouped.values()))


def counting(medians: Mapping[int, float]) -> Mapping[int, float]:
    """The repetitions that state a value: the rounds, because the first pass chose the winners; else its last one."""
    rounds = {repetition: value for repetition, value in medians.items() if repetition >= FIRST_ROUND}
    return rounds or {repetition: medians[repetition] for repetition in sorted(medians)[-1:]}


def _summary(group: list[Measurement]) -> Summary:
    rounds = [m for m in group if m.repetition >= FIRST_ROUND]
    sound = [m for m in group if m.usable]
    if rounds and not any(m.usable for m in rounds):
        sound = []  # a first pass that nothing later confirms states nothing
    lost = sum(not m.usable for m in rounds)
    medians = {m.repetition: m.median for m in sound}
    counted = [m for m in sound if m.repetition in counting(medians)]
    last = (sound or group)[-1]
    clocks, energies = [clock for m in counted for clock in m.clock_hz], list(_energies(counted))
    explained = counted if counted and not lost else group
    return Summary(
        **{name: getattr(group[0], name) for name in _SAME},
        regime=last.regime,
        saturates=next((m.saturates for m in group if m.saturates), ""),
        medians=medians,
        seconds=estimate(list(counting(medians).values())) if medians else None,
        samples=last.seconds,
        clock_hz=sum(clocks) / len(clocks) if clocks else None,
        validity=min((m.validity for m in counted or group), key=("invalid", "suspect", "valid").index),
        causes=tuple(dict.fromkeys(reason for m in explained for reason in m.reasons)),
        skip=next((m.skip for m in group if m.skip), "") if not sound else "",
        notes=last.notes,
        lost=lost if sound else 0,
        joules=estimate([joules for joules, _ in energies]) if energies else None,
        fineness=max((fineness for _, fineness in energies), default=0.0),
        telemetry=tuple(m.telemetry for m in counted or group if m.telemetry),
    )


def _energies(group: list[Measurement]) -> Iterator[tuple[float, float]]:
    """(energy per launch by the driver's counter, its step as a share of the time between its two readings) of each
    repetition; burst cases are over too soon for it. The step is what was seen while polling, else the longest known.
    """
    for m in group:
        before, after, during = (m.telemetry.get(name, {}) for name in ("before", "after", "during"))
        launched = m.telemetry.get("launched", 0)
        read = all("energy_j" in reading and "at_s" in reading for reading in (before, after))
        if m.regime == SUSTAINED and launched and read:
            spent, window = after["energy_j"] - before["energy_j"], after["at_s"] - before["at_s"]
            if spent > 0 and window >= LEAST_ENERGY:
                yield spent / launched, during.get("energy_step_s", ENERGY_STEP) / window
