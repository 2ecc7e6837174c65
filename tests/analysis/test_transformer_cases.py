"""Cases of a transformer beside what they are compared with."""

import pandas as pd
import pytest

from bench.analysis.transformer_cases import prefixed


def test_a_cached_prefix_is_compared_with_as_many_new_tokens_without_one():
    part, told = "prefill attention", [(512, 0, 1.0), (512, 4096, 3.0), (64, 0, 0.5), (64, 4096, 1.0), (8, 4096, 7.0)]
    rows = pd.DataFrame(
        {
            "probe": "decode",
            "params": [{"part": part, "new": new, "prefix": prefix} for new, prefix, _ in told],
            "seconds": [seconds for *_, seconds in told],
            "skip": "",
        }
    )
    found = prefixed(rows).set_index(["new", "prefix"])["times"]
    assert found[512, 4096] == pytest.approx(3)
    assert found[64, 4096] == pytest.approx(2)
    assert found[64, 0] == 1
    assert found[8, 4096] != found[8, 4096], "nothing to compare with"
