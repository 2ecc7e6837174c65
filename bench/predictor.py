"""What a case will take, by the best rates that its kind has shown and by what its probe's cases have cost."""

from bench import units
from bench.budget import Budget
from bench.probes import Probe
from bench.schema import Case, Measurement

# Seconds that any case may be silent, whatever it was predicted to take: first calls load libraries and compile.
PATIENCE = 60.0
# Seconds beyond its sampling that a case is taken to cost before its probe has shown what its cases do cost.
_FIRST = 0.1


class TimePredictor:
    """Says which cases are hopeless, so that they are skipped, not waited for; and what the others will cost.

    Optimistic about a launch on purpose: it may let a case through that takes a few times longer, it does not skip what
    would do.
    """

    def __init__(self, budget: Budget):
        self._budget = budget
        self._best: dict[tuple[tuple[str, str], str], tuple[float, Case]] = {}
        self._costs: dict[str, tuple[int, float]] = {}

    def learn(self, probe: Probe, case: Case, seconds: float) -> None:
        for amount in ("flops", "bytes"):
            rate, known = getattr(case.work, amount) / seconds, self._best.get((_kind(probe, case), amount))
            if rate and (known is None or rate > known[0]):
                self._best[_kind(probe, case), amount] = (rate, case)

    def charge(self, probe: Probe, measurement: Measurement) -> None:
        """Notes what a case cost by the wall: allocation, checks, captures and libraries' plans beside its samples."""
        if not measurement.skip:
            count, spent = self._costs.get(probe.name, (0, 0.0))
            self._costs[probe.name] = (count + 1, spent + measurement.elapsed)

    def cost(self, probe: Probe, case: Case) -> float:
        """Seconds that a case will probably take, all in all."""
        count, spent = self._costs.get(probe.name, (0, 0.0))
        return spent / count if count else _FIRST + (self._budget.headline if case.repeated else self._budget.case)

    def predicted(self, probe: Probe, case: Case) -> tuple[float, Case] | None:
        """Seconds of one launch, and the case that says so."""
        known = [
            (getattr(case.work, amount) / best[0], best[1])
            for amount in ("flops", "bytes")
            if (best := self._best.get((_kind(probe, case), amount)))
        ]
        return max(known, key=lambda each: each[0]) if known else None

    def objection(self, probe: Probe, case: Case) -> str:
        prediction = self.predicted(probe, case)
        if not prediction or prediction[0] <= self._budget.launch:
            return ""
        seconds, best = prediction
        other = ", ".join(f"{name} {value}" for name, value in best.params.items() if case.params.get(name) != value)
        return (
            f"predicted to take {units.seconds(seconds)} a launch at the best rate seen ({other or 'the same case'}); "
            f"the {self._budget.name} budget allows {units.seconds(self._budget.launch)}"
        )

    def patience(self, probe: Probe, case: Case) -> float:
        """Seconds after which a case is taken for hung: far beyond any honest run of it."""
        prediction = self.predicted(probe, case)
        launch = prediction[0] if prediction else 1.0
        share = self._budget.headline if case.repeated else self._budget.case
        return PATIENCE + 200 * share + 100 * launch


def _kind(probe: Probe, case: Case) -> tuple[str, str]:
    """Cases of one kind predict each other: the same family and the same arithmetic."""
    return case.family or probe.name, case.work.compute or case.work.channel
