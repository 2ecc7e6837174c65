"""Did this hardware become slower? A Run beside its own history, its siblings and its datasheet, metric by metric.

metrics: what is gated and how finely. samples: what a Run says of each metric. baselines: Runs that someone blessed.
past: the Runs before. thresholds: the bands around what was expected, and the one comparison. expectations: what is
usual for a device. rule: from comparisons to verdicts. causes: what probably slowed it. defects: what counters say is
broken. groups: which verdicts are one finding. facts: for other programs. tolerances and calibration: how finely, on
this machine.
"""
