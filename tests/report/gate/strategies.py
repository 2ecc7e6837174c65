"""Text that nobody foresaw: every code point, lone surrogates and controls among them."""

from hypothesis import settings
from hypothesis import strategies as st

from tests.report.gate.gates import HOSTILE

ANY_TEXT = st.text(st.characters(exclude_categories=()), min_size=1, max_size=60) | st.sampled_from(
    [HOSTILE, "%0A::error::x", "a=b", "<<EOF", "'", "|", "```", "-->", "]]>", "&#64;all", "", " "]
)
SOME = settings(max_examples=60, deadline=None)
