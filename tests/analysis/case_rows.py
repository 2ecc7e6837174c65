"""The cases of a fit as a frame, with what the analysis asks of one."""

import pandas as pd

from bench.analysis.fit import Fit


def case_rows(fit: Fit) -> pd.DataFrame:
    rows = [
        {
            "probe": case.probe,
            "params": case.params,
            "work": case.work,
            "seconds": case.seconds.value if case.seconds else None,
            "intensity": case.work.intensity if case.work.flops else 0.0,
            "clock_hz": case.clock_hz,
        }
        for case in fit.cases
    ]
    numbers = dict.fromkeys(("seconds", "intensity", "clock_hz"), float)
    return pd.DataFrame(rows, columns=["probe", "params", "work", *numbers]).astype(numbers)
