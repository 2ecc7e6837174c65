"""Did this hardware become slower? A Run beside its own history, its siblings and its datasheet, metric by metric.

metrics: what is gated. samples: what a Run, and the Runs before, say of each metric. baselines: Runs that someone
blessed. tolerances: how finely, on this machine. expectations: what is usual for a device. rule: from comparisons to
verdicts. causes: what probably slowed it, what is broken. verdict: what a gate finds. facts: for other programs.
"""
