"""python -m bench.measure.verify: docs/verify.md's text. With a device, what
compute-sanitizer and ncu run under them."""

import json
import sys

from bench.measure.verify import kernels, work
from bench.measure.verify.document import document


def main(words: list[str]) -> int:
    if not words:
        print(document(), end="")
        return 0
    from bench.measure.device.open import open_device

    device = open_device(words[0])
    if "--counted" in words:
        print(json.dumps({"declared": work.launched(device)}))
        return 0
    outcome = kernels.compared(device, kernels.loaded(device.info))
    print(outcome.value or outcome.reason)
    return 0 if outcome.state != "fail" else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
