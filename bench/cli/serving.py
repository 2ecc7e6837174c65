"""What this machine's roofs mean for serving a model: the verb `serving`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cli.codes import OK, Complaint


def serving(options: argparse.Namespace) -> int:
    """Answers for one model on one machine: a Run's, a Roofline file's or a datasheet's."""
    from bench.analysis.serving.answers import answer, facts
    from bench.analysis.serving.errors import ServingError
    from bench.cli.console import console
    from bench.models import ModelError, UnknownModel, model
    from bench.report.serving.terminal import answers_table

    try:
        found = answer(model(options.model), _machine(options), _request(options))
    except (ServingError, UnknownModel, ModelError, ValueError) as error:
        raise Complaint(str(error)) from None
    if options.json:
        print(json.dumps(facts(found), indent=2))
    else:
        console(stderr=False).print(answers_table(found))
    return OK


def _machine(options: argparse.Namespace) -> Any:
    from bench.analysis.fit import fit
    from bench.analysis.serving.sources import of_file, of_product, of_run
    from bench.store import read
    from bench.theory import UnknownProduct

    given = [name for name in ("run", "roofline", "device") if getattr(options, name)]
    if len(given) != 1:
        raise Complaint("serving needs one machine: --run RUN, --roofline FILE or --device sim:SKU")
    if options.run:
        run = read(options.run)
        fits = fit(run)
        if not fits:
            raise Complaint(f"{options.run}: a Run of no device")
        if not run.complete:
            print(f"{options.run}: the Run was cut short; these are answers from what it has", file=sys.stderr)
        return of_run(fits[0])
    if options.roofline:
        if options.roofline.suffix == ".jsonl":
            raise Complaint(
                f"{options.roofline} is a Run: give it with --run, or what `bench fit RUN --json` prints of it"
            )
        return of_file(options.roofline)
    sku, *faults = options.device.removeprefix("sim:").split(",")
    if not options.device.startswith("sim:"):
        raise Complaint(
            f"--device {options.device}: measure it (`bench all`) and give its Run, or name a datasheet, sim:SKU"
        )
    if faults:
        raise Complaint(
            f"--device sim:{sku},{','.join(faults)}: serving reads the datasheet alone; leave {faults[0]} out"
        )
    try:
        return of_product(sku)
    except UnknownProduct as error:
        raise Complaint(str(error)) from None


def _request(options: argparse.Namespace) -> Any:
    from bench.analysis.serving.request import Request, served, sla
    from bench.transformer import Ranks

    asked: dict[str, Any] = {"precision": served(options.weights, options.kv), "ranks": Ranks(tensor=options.gpus)}
    asked |= {
        name: _numbers(getattr(options, name), name) for name in ("batches", "contexts") if getattr(options, name)
    }
    asked |= {
        name: getattr(options, name)
        for name in ("prompt", "output", "price", "mode", "host")
        if getattr(options, name) is not None
    }
    if options.sla:
        asked["sla"] = sla(options.sla)
    return Request(**asked)


def _numbers(text: str, name: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise Complaint(
            f"--{name.removesuffix('es').removesuffix('s')} {text}: give whole numbers, separated by commas"
        ) from None


def _usd(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of USD per device and hour, 0 or more")
    return value


def options_of(verbs: Any, number: Callable[[str], int], seconds: Callable[[str], float]) -> None:
    """What may be typed behind `serving`."""
    verb = verbs.add_parser("serving", help="what this machine's roofs mean for serving a model")
    verb.add_argument("model", metavar="MODEL", help="a name, a Hugging Face id, or the path of a config.json")
    verb.add_argument("--run", type=Path, metavar="RUN", help="a Run of this machine")
    verb.add_argument(
        "--roofline", type=Path, metavar="FILE", help="what `fit RUN --json` printed, or roofs of your own"
    )
    verb.add_argument("--device", metavar="sim:SKU", help="a datasheet's machine")
    verb.add_argument("--batch", dest="batches", metavar="N,N", help="sequences that decode at once")
    verb.add_argument("--context", dest="contexts", metavar="N,N", help="tokens of context")
    verb.add_argument("--prompt", type=number, metavar="N", help="prompt tokens of a request (1024)")
    verb.add_argument("--output", type=number, metavar="N", help="output tokens of a request (256)")
    verb.add_argument("--gpus", type=number, default=1, metavar="N", help="tensor-parallel devices (1)")
    verb.add_argument(
        "--weights", default="bf16", metavar="FORMAT", help="bf16, fp8, int8, int4-g128, mxfp4, nvfp4 ..."
    )
    verb.add_argument("--kv", default="bf16", metavar="FORMAT", help="of the KV cache")
    verb.add_argument(
        "--sla", metavar="LIMITS", help="ttft=2s,tps=30, or a preset: chat, mlperf llama-2-70b server ..."
    )
    verb.add_argument("--mode", choices=("graph", "eager"), help="how kernels are launched (graph)")
    verb.add_argument("--host", type=seconds, metavar="SECONDS", help="host time per step that nothing hides (0)")
    verb.add_argument("--price", type=_usd, metavar="USD", help="of a device and hour, for the cost of tokens")
    verb.add_argument("--json", action="store_true", help="every answer with unit, binding roof and fixed share")
    verb.set_defaults(function=serving)
