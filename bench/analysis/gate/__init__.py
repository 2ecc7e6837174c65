"""Did this hardware become slower? A Run beside its own history, its siblings and its datasheet, metric by metric.

metrics: what is gated and how finely. readings: what a Run says of each metric. baselines: Runs that someone blessed.
past: the Runs before. bands: what a value is held against, and the one comparison. rule: from comparisons to verdicts.
causes: what probably slowed it. calibration: this machine's own noise.
"""
