"""The numbers of the claims' reference column, each once more: from counts, datasheets and simple formulas."""

import string
from math import ceil, floor

import pytest
from scipy.optimize import brentq

from bench import theory
from bench.analysis.serving.claims.evidence import facts
from bench.analysis.serving.step import decoding, mixing, prefilling, timed
from bench.models import model
from bench.transformer import Precision
from tests.analysis.serving.flat import flat

CLAIMS = {name: row for name, row in facts().items() if name not in ("documents", "contradictions")}
# Used by what a machine shows beside its claim, and not printed in the reference.
UNPRINTED = {("IL-08", "two")}


def roof(sku: str, key: str) -> float:
    return theory.product(sku).roofline.roof(key).rate


def pairs(s: int, cached: int = 0) -> int:
    """(query, key) pairs of a causal mask."""
    return s * cached + s * (s + 1) // 2


def intensity(m: int, n: int) -> float:
    """Of m rows against a square weight in 16 bits."""
    return 2 * m * n * n / (2 * (n * n + 2 * m * n))


def spec(acceptance: float, drafts: int) -> float:
    """Tokens of a verify step: the first k drafts are all accepted with the k-th power."""
    return sum(acceptance**i for i in range(drafts + 1))


def best(acceptance: float) -> float:
    """Gain of the best number of drafts, each a tenth of a step."""
    return max(spec(acceptance, drafts) / (1 + 0.1 * drafts) for drafts in range(41))


def shared(ranks: int, layers: int, reduce: float, weights: int) -> float:
    """Efficiency of tensor parallelism: two all-reduces per layer beside a rank's share of the weights."""
    alone = 2 * weights / BH
    return alone / ranks / (alone / ranks + 2 * layers * reduce) if ranks else 0.0


def pools(limit: float, most: int) -> float:
    """Gain of two pools by trial: a step takes 15 + 0.1 B, a prompt 150, `limit` a gap, all in ms; 256 tokens."""
    cost = {b: 150 + 255 * (15 + 0.1 * b) / b for b in range(1, most + 1)}
    together = max(b for b in cost if 15 + 0.1 * b + (b - 1) * 150 / 255 <= limit)
    return cost[together] / cost[max(b for b in cost if 15 + 0.1 * b <= limit)]


# Machine X of the worked steps, and those steps of Llama-3.1-8B.
X = flat(700e12, 2.8e12, attention=300e12, start=3e-6)
ALONE, PROMPT, CHUNK = (
    timed(model("Llama-3.1-8B"), X, Precision(), step)
    for step in (decoding(8, 1024), prefilling(2048), mixing(8, 1024, 512))
)
FH, FH8, BH = (roof("h100-sxm5-80gb", key) for key in ("tensor.bfloat16", "tensor.float8_e4m3", "dram"))
LINK = roof("h100-sxm5-80gb", "link")
FX, BX = (roof("h200-sxm", key) for key in ("tensor.bfloat16", "dram"))
FA, BA = (roof("a100-sxm4-80gb", key) for key in ("tensor.bfloat16", "dram"))
BA40 = roof("a100-sxm4-40gb", "dram")
# Weights that multiply a token; of 405B those of the layers, its LM head, and the bytes of its activations in a layer.
N7, N8, N70, N2_70, N405 = 6607077376, 7504658432, 69501714432, 68713185280, 403747897344
L405, HEAD405 = 401646551040, 128256 * 16384
D, F = 16384, 53248
MOVED = 2 * (8 * D + (D + 144 * 128) + 288 * 128 + (2 * D + 2048) + 2 * D + (D + 2 * F) + 3 * F + (F + D))
EXACT1000 = 2 * 1000 * L405 + 2 * HEAD405 + 4 * 126 * D * pairs(1000)
ELEVEN1000 = 2 * 126 * 11 * 1000 * D**2
P405, P70, P7, P2_70 = 405853388800, 70553706496, 6738415616, 68976648192
# DeepSeek-V3: of a token, and of all experts.
NV3, AV3 = 36624596992, 670098718720
# KV bytes per token.
KV7, KV70, KV405, KV405_MHA, KV_V3 = 524288, 327680, 516096, 8257536, 70272
SEQUENCES_BY_TPOT = floor((BX / 30 - N70) / (2048 * KV70))

EXPRESSIONS = """
P2-01 mean = 33/2*0.1
P2-02 user = 1/0.02
P2-02 system = 64/0.02
P2-03 total = 0.5+100*0.02
P2-03 each = 2.5/101
P2-03 gap = 0.02
P2-04 usd = 2/(3600*1000)*1e6
P2-05 recomputed = 3+4+5
P2-05 cached = 3+1+1
P2-05 times = sum(range(1000,2000))/1999
P2-06 causal = L405/(126*D)
P2-06 full = L405/(2*126*D)
P2-07 short = 128*1000**2*2
P2-07 long = 128*100000**2*2
P2-08 share = BH/FH
P2-09 eleven = ELEVEN1000
P2-09 linear = 2*1000*L405
P2-09 exact = EXACT1000
P2-10 rounded = 2*1000*405e9
P2-10 ratio = 2*1000*405e9/ELEVEN1000
P2-11 peak = FH
P2-12 stated = ELEVEN1000/1e15
P2-12 at_760 = EXACT1000/760e12
P2-12 at_897 = EXACT1000/897e12
P2-12 devices = ceil(2*P405/85.52e9)
P2-13 rate = 1e15/ELEVEN1000
P2-14 full = (1000*ELEVEN1000+4*126*D*10**12)/1e15
P2-14 causal = (2*1000001*L405+4*126*D*pairs(1000001))/1e15
P2-15 full = 4*126*D*10**12/(1000*ELEVEN1000+4*126*D*10**12)
P2-15 causal = 4*126*D*pairs(10**6)/(2*10**6*L405+4*126*D*pairs(10**6))
P2-17 token = KV405/BH
P2-18 ratio = KV405_MHA/KV405
P2-19 bytes = 2*D*2
P2-20 bytes = 2*D*2*126
P2-20 kib = 2*D*2*126/1024
P2-21 width = D
P2-21 layers = 126
P2-21 heads = 128
P2-21 kv_heads = 8
P2-21 ffn = F
P2-22 large = 128/8
P2-22 middle = 64/8
P2-23 kib = KV405_MHA*1e6
P2-23 kb = 8064*1000*1e6
P2-24 users = SEQUENCES_BY_TPOT
P2-24 memory = floor((141e9*0.9-P70)/(2048*KV70))
P2-25 h100 = BH/FH
P2-25 a100 = BA/FA
P2-26 h100 = FH/BH
P2-26 a100 = FA/BA
P2-28 one = intensity(64,8192)
P2-28 apart = intensity(1,8192)
P2-29 waste = 1-250/400
P2-30 share = pairs(100000)/100000**2
P2-31 moved = 126*1e5*MOVED
P2-31 traffic = 2*405e9+1e5*KV405
P2-31 each = MOVED
P2-32 rounded = 2*1e5*405e9
P2-32 exact = 2*10**5*L405
P2-33 full = 4*126*1e10*D
P2-33 causal = 4*126*D*pairs(100000)
P2-34 full = 2*1e5*405e9+4*126*1e10*D
P2-34 causal = 2*1e5*405e9+4*126*D*pairs(100000)
P2-34 equal = L405/(126*D)
P2-35 resident = P405*2
P2-35 streamed = N405*2
P2-36 gqa = KV405*1e5
P2-36 mha = KV405_MHA*1e5
P2-37 written = (2*1e5*405e9+4*126*1e10*D)/(810e9+1e5*KV405)
P2-37 causal = (2*1e5*405e9+4*126*D*pairs(100000))/(810e9+1e5*KV405)
P2-37 mha = (2*1e5*405e9+4*126*1e10*D)/(810e9+1e5*KV405_MHA)
P2-37 activations = (2*1e5*L405+2*HEAD405+4*126*D*pairs(100000))/(126*1e5*MOVED+2*N405)
P2-38 h100 = FH/BH
P2-38 fp8 = FH8/BH
P2-38 h200 = FX/BX
P2-38 a100 = FA/BA
P2-39 share = PROMPT.shares["compute"]
P2-40 intensity = intensity(1,4096)
P2-41 linear = 2*405e9
P2-41 attention = 4*126*1e5*D
P2-41 total = 2*405e9+4*126*1e5*D
P2-42 stated = 810e9+1e5*KV405
P2-42 exact = 2*N405+1e5*KV405
P2-43 whole = (2*405e9+4*126*1e5*D)/(810e9+1e5*KV405)
P2-43 attention = 4*128*128/(2*8*128*2)
P2-43 mha = (2*405e9+4*126*1e5*D)/(810e9+1e5*KV405_MHA)
P2-44 memory = (810e9+1e5*KV405)/(8*BH)
P2-44 compute = (2*405e9+4*126*1e5*D)/(8*FH)
P2-45 share = (2*405e9+4*126*1e5*D)/FH/((810e9+1e5*KV405)/BH)
P2-47 alone = ALONE.seconds
P2-47 prompt = ALONE.seconds+PROMPT.seconds
P2-47 chunk = CHUNK.seconds
P2-48 appended = KV405
P2-48 read = KV405*1e5
IL-02 a100_share = 64/(FA/BA)
IL-02 h100_share = 64/(FH/BH)
IL-02 a100_int4 = FA/BA*0.53125/2
IL-02 a100 = FA/BA
IL-02 h100 = FH/BH
IL-02 h200 = FX/BX
IL-02 h100_int4 = FH/BH*0.53125/2
IL-03 large = BA
IL-03 small = BA40
IL-04 stated = 14e9/2e12
IL-04 streamed = N7*2/BA
IL-04 starts = 32*9*3e-6
IL-05 share = BA/FA
IL-07 scores = 4*32*4096**2*2/BA
IL-07 arithmetic = 4*32*128*4096**2/FA
IL-07 causal = 4*32*4096**2*2/BA/(4*32*128*pairs(4096)/178e12)
IL-07 full = 4*32*4096**2*2/BA/(4*32*128*4096**2/FA)
IL-08 gain = spec(0.8,4)/1.4
IL-08 low = best(0.6)
IL-08 high = best(0.9)
IL-08 two = brentq(lambda acceptance: best(acceptance)-2, 0.1, 0.99)
IL-09 ideal = 2/0.53125
IL-09 fp8 = (2*N7/BA+2e-3)/(N7/BA+2e-3)
IL-09 int4 = (2*N7/BA+2e-3)/(0.53125*N7/BA+2e-3)
IL-10 middle = 64/8
IL-10 large = 128/8
IL-12 waste = 1-250/400
IL-13 tail = ceil(0.95*32)*0.1
IL-14 users = SEQUENCES_BY_TPOT
IL-15 wide = floor((141e9*0.9-P70)/(2048*KV70))
IL-15 narrow = floor((141e9*0.9-P70)/(8192*KV70/2))
IL-16 short = 1+N70*2/(KV70*1024)
IL-16 long = 1+N70*2/(KV70*8192)
IL-17 users = max(users for users in range(1,200) if ceil(0.95*users)*0.05 <= 2.0000001)
IL-20 large = P2_70*2
IL-20 small = P7*2
IL-21 ratio = P2_70/P7
IL-22 loaded = (N2_70*2+32*4096*KV70)/(N7*2+32*4096*KV7)
IL-22 kv = KV7/KV70
IL-22 alone = N2_70/N7
IL-23 small_card = ceil(P2_70*2/40e9)
IL-23 large_card = ceil(P2_70*2/80e9)
IL-25 heads = 32//8
IL-26 reduces = 2*32
IL-27 sent = 2*7/8
IL-28 claimed = 2*8192*4096*2
IL-28 one = 4096*2
IL-28 many = 64*4096*2
IL-29 large = 32*2*7/8*134217728/225e9
IL-29 graph = 64*6e-6
IL-29 eager = 64*44e-6
IL-29 weights = N7*2/BA/8
IL-30 small_4 = shared(4,32,5e-6,N8)
IL-30 small_8 = shared(8,32,5e-6,N8)
IL-30 large_8 = shared(8,80,5e-6,N70)
IL-30 slow_small_4 = shared(4,32,20e-6,N8)
IL-30 slow_small_8 = shared(8,32,20e-6,N8)
IL-30 slow_large_8 = shared(8,80,20e-6,N70)
IL-31 half = P2_70*0.5
IL-31 sequences = floor((80e9*0.9-37.413892352e9)/(2048*KV70))
IL-31 packed = (P2_70-2*32000*8192)*0.53125+2*32000*8192*2
IL-33 large_card = ceil(P2_70*2/80e9)
IL-33 small_card = ceil(P2_70*2/40e9)
IL-34 attention = pairs(1024,3072)/pairs(4096)
IL-34 linear = 1024/4096
IL-35 cost = 1e9/N70
IL-35 gain = spec(0.8,4)/(1+4*1e9/N70)
IL-37 share = (spec(0.8,4)-4*0.1)/5
IL-37 users = (spec(0.8,4)-4*0.1)/5*FH/BH
IL-39 ratio = FH8/FH
RP-01 ratio = 6*2.5
RP-01 slow = 15*(2.5-1)/(15-2.5)
RP-01 fast = (2.5-1)/(15-2.5)
RP-03 share = NV3/AV3
RP-04 each = max(2*512*N70/FH,2*N70/BH)+max(4*80*64*128*512*2048/FH,512*2048*KV70/BH)
RP-04 whole = max((2*512*N70+4*80*64*128*512*2048)/FH,(2*N70+512*2048*KV70)/BH)
RP-05 share = ALONE.shares["memory"]
RP-06 decode = ALONE.shares["compute"]
RP-06 prefill = PROMPT.shares["compute"]
RP-07 ridge = FH/BH
RP-07 experts = 1+NV3/(KV_V3*8192)
RP-07 dense = 1+2*N70/(KV70*8192)
RP-08 experts = FH/BH*256/8
RP-08 parameters = FH/BH*AV3/NV3
RP-08 h100 = FH/BH
RP-08 h200 = FX/BX
RP-08 a100 = FA/BA
RP-10 implied = 2*100e9/(FH/BH*200e3)
RP-10 middle = 2*N70/(FH/BH*KV70)
RP-10 experts = 2*NV3/(FH/BH*KV_V3)
RP-10 large = 2*N405/(FH/BH*KV405)
RP-10 earlier = 200e3/(2*N405/(FH/BH*KV405))
RP-11 bytes = 7168*2
RP-12 sent = 58*8*(7168+14336)
RP-12 ports = 58*8*(7168+14336)/50e9
RP-12 compute = 2*NV3/FH8
RP-12 nvlink = 58*8*(7168+14336)/450e9
RP-13 share = 37552297472/671026419200
PI-01 h100 = 80e9/BH
PI-01 h200 = 141e9/BX
PI-01 a100 = 80e9/BA
PI-01 tpu = 16e9/8.2e11
PI-02 interval = 0.9*80e9/BH
PI-05 memory = floor((141e9*0.9-P70)/(2048*KV70))
PI-05 users = SEQUENCES_BY_TPOT
PI-06 twelve = BH/(12*38.4e9)
PI-06 eight = BH/(8*38.4e9)
PI-06 pcie = BH/64e9
PI-07 share = 1/spec(0.8,4)
PI-08 hbm = 2*400/2.8e12/(2*600/700e12)
PI-08 dram = 640/3.7
PI-08 sram = 5/3.7
PI-09 one = 700*0.02
PI-09 many = 700*0.02/64
PI-10 tight = pools(100/3,4096)
PI-10 loose = pools(1000,64)
PI-11 one = 12748587008*2/BH
PI-11 every = 46571454464*2/BH
PI-11 table = 128256*4096/8030261248
PI-11 ratio = 46571454464/12748587008
PI-11 deepest = AV3/NV3
PI-13 link = 2*7/8*16384/LINK
PI-13 chance = 1-0.99**160
MB-01 prefill = PROMPT.shares["compute"]
MB-01 decode = ALONE.shares["memory"]
MB-02 share = BH/FH
MB-03 bytes = 2*N70
MB-04 idle = 1-BH/FH
MB-05 gap = 0.02+31/127*0.1
MB-06 loose = pools(1000,64)
MB-06 tight = pools(100/3,4096)
"""


KNOWN = globals() | {"ceil": ceil, "floor": floor, "brentq": brentq}


def recomputed() -> dict[tuple[str, str], str]:
    lines = (line.split(" ", 3) for line in EXPRESSIONS.strip().splitlines())
    return {(claim, name): expression for claim, name, _, expression in lines}


@pytest.mark.parametrize(
    ("number", "expression"), recomputed().items(), ids=lambda each: " ".join(each) if isinstance(each, tuple) else ""
)
def test_a_number_of_the_reference_is_recomputed(number, expression):
    claim, name = number
    # they are printed with at most 4 digits, and kept with 9
    assert CLAIMS[claim]["numbers"][name] == pytest.approx(eval(expression, KNOWN), rel=1e-8)


def test_every_number_is_recomputed_and_printed_and_nothing_else_is():
    kept = {(claim, name) for claim, row in CLAIMS.items() for name in row.get("numbers", ())}
    printed = {
        (claim, field)
        for claim, row in CLAIMS.items()
        for _, field, _, _ in string.Formatter().parse(row.get("reference", ""))
        if field
    }
    assert kept == recomputed().keys()
    assert kept == printed | UNPRINTED
