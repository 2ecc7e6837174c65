"""From step times to what users see: closed and open loops, static batches, chunked prefill, two pools.

Times are in seconds, rates in requests or tokens per second. TPOT is (E2E - TTFT)/(OSL - 1), the mean gap between
tokens, everywhere. What would make these numbers wrong: an engine that does not run waiting prompts first, lengths that
vary widely (the phase of the users then lies between the two ends), a warm prefix cache that nobody counted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy.optimize import brentq

from bench.analysis.serving import ServingError


@dataclass(frozen=True)
class UserLoop:
    """What `batch` users meet who each send the next request at once, or who arrive by chance. rate: requests/s.

    tail: the TTFT that a share of the requests meets, 95 of 100 unless another was asked for. busy: the share of time
    that prefill takes.
    """

    batch: float
    ttft: float
    tail: float
    tpot: float
    latency: float
    rate: float
    busy: float


def closed(
    batch: int, output: int, decode: float, prefill: float, in_phase: bool, quantile: float | None = 0.95
) -> UserLoop:
    """`batch` users in a closed loop with an engine that runs waiting prompts first, one at a time.

    In phase: all start together and have equal lengths, so that user j waits j prefills for the first token. Out of
    phase: the prompts of the others fall between one's own tokens; now and then two collide, so that the tail of the
    TTFT is that of a queue (M/D/1) at this load. The phase moves time between TTFT and TPOT only. quantile: of the
    tail; without one there is none, the mean stands in for it.
    """
    _at_least_one(batch, "batch")
    _at_least_one(output, "output length")
    latency = batch * prefill + (output - 1) * decode
    if in_phase:
        ttft = (batch + 1) / 2 * prefill
        tail = ttft if quantile is None else math.ceil(quantile * batch) * prefill
    else:
        # a request of one token has no gap in which the others' prompts could fall: it waits for them
        ttft = tail = prefill if output > 1 else latency
        if output > 1 and batch > 1 and quantile is not None:
            tail += min(md1_wait(quantile, batch / latency * prefill, prefill), (batch - 1) * prefill)
    tpot = (latency - ttft) / (output - 1) if output > 1 else 0.0
    rate = batch / latency
    return UserLoop(batch, ttft, tail, tpot, latency, rate, rate * prefill)


def md1_cdf(wait: float, load: float, service: float) -> float:
    """P(W <= wait) of Poisson arrivals at one server of constant service time (Crommelin 1932). load: rate x service.

    The terms alternate and cancel, so beyond 15 services the tail goes on as the exponential that it has become.
    """
    if wait < 0:
        return 0.0
    reach = wait / service
    if reach > _EXACT:
        return 1 - (1 - _series(_EXACT, load)) * math.exp(-_decay(load) * (reach - _EXACT))
    return _series(reach, load)


_EXACT = 15


def _series(reach: float, load: float) -> float:
    """Crommelin's sum for a wait of `reach` services."""
    terms = ((j, load * (j - reach)) for j in range(math.floor(reach + 1e-12) + 1))
    return (1 - load) * sum(x**j / math.factorial(j) * math.exp(-x) for j, x in terms)


def _decay(load: float) -> float:
    """The rate x at which an M/D/1 tail falls per service: the positive root of load (e^x - 1) = x."""
    low, high = 0.0, 2 * math.log(1 / load) + 2 * (1 - load) if load else math.inf
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if load * math.expm1(middle) < middle else (low, middle)
    return high


def md1_wait(quantile: float, load: float, service: float) -> float:
    """Seconds that a share `quantile` of the requests wait at most before service begins."""
    _stable(load)
    if quantile <= 1 - load or not service:
        return 0.0
    low, high = 0.0, service
    while md1_cdf(high, load, service) < quantile:
        high *= 2
    return float(brentq(lambda wait: md1_cdf(wait, load, service) - quantile, low, high, xtol=1e-18, rtol=1e-14))


def md1_mean(load: float, service: float) -> float:
    """Mean seconds of waiting (Pollaczek-Khinchine)."""
    _stable(load)
    return load * service / (2 * (1 - load))


def opened(rate: float, output: int, decode: Callable[[int], float], prefill: float, most: int) -> UserLoop:
    """Poisson arrivals at `rate` requests/s: the batch that Little's law settles at, and the wait of an M/D/1 queue.

    decode(batch): seconds of a decode step. Raises ServingError where prefill alone is overloaded, or where no batch
    up to `most` keeps up.
    """
    busy = rate * prefill
    if busy >= 1:
        raise ServingError(
            f"{rate:g} requests/s ask for {100 * busy:.0f} % of the time for prefill alone; "
            f"stay below {1 / prefill:.4g} requests/s"
        )

    def needed(batch: int) -> float:
        return rate * (output - 1) * decode(batch) / (1 - busy)

    # needed(B) - B changes sign once where decode grows slower than its batch; the smallest batch that keeps up
    low, high = 1, most
    if needed(most) > most:
        raise ServingError(f"{rate:g} requests/s need a batch of more than {most}, the largest that fits")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if needed(middle) <= middle else (middle + 1, high)
    step = decode(low)
    tpot = step / (1 - busy)
    mean, tail = md1_mean(busy, prefill), md1_wait(0.95, busy, prefill)
    ttft = mean + prefill + step / 2
    return UserLoop(needed(low), ttft, tail + prefill + step / 2, tpot, ttft + (output - 1) * tpot, rate, busy)


def chunks(prompt: int, chunk: int) -> int:
    _at_least_one(chunk, "chunk")
    return -(-prompt // chunk)


def chunked(batch: int, output: int, decode: float, mixed: float, steps: int) -> UserLoop:
    """As closed out of phase, where a prompt is spread over `steps` mixed steps that each take `mixed` seconds in all.

    What a prompt costs the others is then steps * (mixed - decode); its own first token takes steps * mixed.
    """
    cost = steps * max(0.0, mixed - decode)
    loop = closed(batch, output, decode, cost, in_phase=False)
    more = steps * mixed - cost
    latency = loop.latency + more
    rate = batch / latency
    return replace(loop, ttft=loop.ttft + more, tail=loop.tail + more, latency=latency, rate=rate, busy=rate * cost)


@dataclass(frozen=True)
class Pools:
    """Prefill and decode on devices of their own. together, apart: the batch that meets the limit; devices: prefill
    devices per decode device; transfer: seconds to send the KV of one prompt; gain: requests per device, apart over
    together (1 where the limit is loose).
    """

    together: int
    apart: int
    devices: float
    transfer: float
    gain: float


def pools(
    limit: float, output: int, decode: Callable[[int], float], prefill: float, most: int, kv_bytes: float,
    network: float,
) -> Pools:  # fmt: skip
    """What two pools gain under a TPOT limit. Raises ServingError where one user already breaks it.

    Device time per request is prefill + (output - 1) decode(B)/B in both; apart, B may grow until decode alone meets
    the limit, together the other users' prompts are in the way.
    """
    _at_least_one(output - 1, "output length less one")
    apart = largest(lambda b: decode(b) <= limit, most)
    together = largest(lambda b: decode(b) + (b - 1) / (output - 1) * prefill <= limit, most)
    if not apart:
        raise ServingError(
            f"one user alone takes {decode(1) * 1e3:.3g} ms per token; the limit is {limit * 1e3:.3g} ms"
        )

    def cost(batch: int) -> float:
        return prefill + (output - 1) * decode(batch) / batch

    share = prefill * apart / (output * decode(apart))
    return Pools(together, apart, share, kv_bytes / network, cost(together) / cost(apart))


def largest(holds: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that holds, of a property that once lost stays lost; 0 if 1 does not."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _at_least_one(value: float, what: str) -> None:
    if value < 1:
        raise ServingError(f"{what} must be 1 or more, not {value:g}")


def _stable(load: float) -> None:
    if not 0 <= load < 1:
        raise ServingError(f"a queue is stable below a load of 1, not at {load:g}")
