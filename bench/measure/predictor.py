"""What a case will take, by the best rates that its kind has shown and by what its probe's cases have cost."""

from bench import units
from bench.measure.budget import Budget
from bench.measure.probes import Probe
from bench.schema import Case, Measurement

# Seconds that any case may be silent, whatever it was predicted to take: first calls load libraries and compile.
PATIENCE = 60.0
# Launches of a case at least: to see that it runs, to check it, to warm up, and a sample.
LAUNCHES = 4
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
            rate = getattr(case.work, amount) / seconds
            for kind in (_kind(probe, case), _any(probe, case)):
                known = self._best.get((kind, amount))
                if rate and (known is None or rate > known[0]):
                    self._best[kind, amount] = (rate, case)

    def charge(self, probe: Probe, measurement: Measurement) -> None:
        """Notes what a case cost by the wall: allocation, checks, captures and libraries' plans beside its samples."""
        if not measurement.skip:
            count, spent = self._costs.get(probe.name, (0, 0.0))
            self._costs[probe.name] = (count + 1, spent + measurement.elapsed)

    def cost(self, probe: Probe, case: Case) -> float:
        """Seconds that a case will probably take, all in all: what its probe's cases took on the mean, and the launches
        of a long one, which its own time has to pay for.
        """
        count, spent = self._costs.get(probe.name, (0, 0.0))
        usual = spent / count if count else _FIRST + (self._budget.headline if case.repeated else self._budget.case)
        prediction = self.predicted(probe, case)
        return usual + (LAUNCHES * prediction[0] if prediction else 0.0)

    def predicted(self, probe: Probe, case: Case) -> tuple[float, Case] | None:
        """Seconds of one launch, and the case that says so: of its kind, else the fastest of its probe."""
        kind, other = _kind(probe, case), _any(probe, case)
        # of another kind only what both do most of: a loop in registers moves next to no bytes
        binding = "flops" if case.work.flops else "bytes"
        asked = [(kind, "flops"), (kind, "bytes")]
        if not any(each in self._best for each in asked):
            asked = [(other, binding)]
        known = [
            (getattr(case.work, amount) / self._best[kind, amount][0], self._best[kind, amount][1])
            for kind, amount in asked
            if (kind, amount) in self._best
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


def _any(probe: Probe, case: Case) -> tuple[str, str]:
    """What predicts a case of a kind that has not been seen yet: no kind is likely to be faster than the fastest."""
    return f"any {probe.name}", case.work.compute or case.work.channel


def _kind(probe: Probe, case: Case) -> tuple[str, str]:
    """Cases of one kind predict each other: the same family and the same arithmetic."""
    return case.family or probe.name, case.work.compute or case.work.channel
