"""Did this hardware become slower? A Run beside its own history, its siblings and its datasheet, metric by metric.

metrics: what is gated and how finely. readings: what a Run says of each metric. baselines: Runs that someone blessed.
past: the Runs before. bands: the bands around what was expected, and the one comparison. held: what a device is held
against. rule: from comparisons to verdicts. causes: what probably slowed it. defects: what counters say is broken.
tolerances and calibration: how finely, on this machine.
"""
