"""A paragraph per probe that says what its numbers mean on this machine; a sentence per fact, each computed."""

from bench.report.interpretation.arithmetic import gemm, intensity, peak
from bench.report.interpretation.attention import attention
from bench.report.interpretation.claims import generic, nothing
from bench.report.interpretation.health import health
from bench.report.interpretation.links import allreduce, hostcopy, launch
from bench.report.interpretation.memory import bandwidth, latency, onchip

__all__ = (
    "allreduce",
    "attention",
    "bandwidth",
    "gemm",
    "generic",
    "health",
    "hostcopy",
    "intensity",
    "latency",
    "launch",
    "nothing",
    "onchip",
    "peak",
)
