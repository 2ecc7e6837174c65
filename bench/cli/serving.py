"""The verb serving: what a machine's roofs mean for serving a model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

from bench.cli.codes import OK, UserError
from bench.cli.options import Seconds, Some, option, real


def _numbers(kind: Any, tokens: Sequence[Token]) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in tokens[0].value.split(","))
    except ValueError:
        raise ValueError(f"{tokens[0].value}: give whole numbers, separated by commas") from None


Numbers = Annotated[
    tuple[int, ...], Parameter(converter=_numbers, n_tokens=1, metavar="N,N", allow_leading_hyphen=True)
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServingArguments:
    """A machine (one of three), the request, and how the answer is told."""

    run: Annotated[Path | None, option("a Run of this machine", "RUN")] = None
    roofline: Annotated[Path | None, option("what `fit RUN --json` printed, or roofs of your own", "FILE")] = None
    device: Annotated[str | None, option("a datasheet's machine", "sim:SKU")] = None
    batch: Annotated[Numbers, option("sequences that decode at once", "N,N")] = ()
    context: Annotated[Numbers, option("tokens of context", "N,N")] = ()
    prompt: Annotated[Some | None, option("prompt tokens of a request (1024)", "N")] = None
    output: Annotated[Some | None, option("output tokens of a request (256)", "N")] = None
    gpus: Annotated[Some, option("tensor-parallel devices", "N")] = 1
    weights: Annotated[str, option("bf16, fp8, int8, int4-g128, mxfp4, nvfp4 ...", "FORMAT")] = "bf16"
    kv: Annotated[str, option("of the KV cache", "FORMAT")] = "bf16"
    sla: Annotated[str | None, option("ttft=2s,tps=30, or a preset: chat, mlperf llama-2-70b server ...", "LIMITS")] = (
        None
    )
    mode: Annotated[Literal["graph", "eager"] | None, option("how kernels are launched (graph)", "MODE")] = None
    host: Annotated[Seconds | None, option("host time per step that nothing hides (0)", "SECONDS")] = None
    price: Annotated[
        float | None,
        real("USD per device and hour", "USD", float("inf")),
        option("of a device and hour, for the cost of tokens", "USD"),
    ] = None
    full: Annotated[bool, option("every table behind the answer")] = False
    json: Annotated[bool, option("every answer with unit, binding roof and fixed share")] = False


DEFAULTS = ServingArguments()


def serving(
    model: Annotated[str, option("a name, a Hugging Face id, or the path of a config.json", "MODEL")],
    /,
    options: ServingArguments = DEFAULTS,
) -> int:
    """Answers for one model on one machine: a Run's, a Roofline file's or a datasheet's."""
    from bench.analysis.serving import ServingError
    from bench.analysis.serving.answers import answer
    from bench.cli.console import open_console
    from bench.models import ModelError, UnknownModel
    from bench.models import model as of_name
    from bench.report.render import data, terminal
    from bench.report.serving import document

    try:
        found = answer(of_name(model), _machine(options), _request(options))
    except (ServingError, UnknownModel, ModelError, ValueError) as error:
        raise UserError(str(error)) from None
    made = document(found, options.full)
    if options.json:
        print(data.as_json(made).decode(), end="")
    else:
        open_console(stderr=False).print(terminal.text(made, options.full))
    return OK


def _machine(options: ServingArguments) -> Any:
    from bench.analysis.fit import fit
    from bench.analysis.serving.machine_io import of_file, of_product, of_run
    from bench.store import read
    from bench.theory import UnknownProduct

    if sum(map(bool, (options.run, options.roofline, options.device))) != 1:
        raise UserError("serving needs one machine: --run RUN, --roofline FILE or --device sim:SKU")
    if options.run:
        run = read(options.run)
        fits = fit(run)
        if not fits:
            raise UserError(f"{options.run}: a Run of no device")
        if not run.complete:
            print(f"{options.run}: the Run was cut short; these are answers from what it has", file=sys.stderr)
        return of_run(fits[0])
    if options.roofline:
        if options.roofline.suffix == ".jsonl":
            raise UserError(
                f"{options.roofline} is a Run: give it with --run, or what `bench fit RUN --json` prints of it"
            )
        return of_file(options.roofline)
    sku, *faults = options.device.removeprefix("sim:").split(",")
    if not options.device.startswith("sim:"):
        raise UserError(
            f"--device {options.device}: measure it (`bench all`) and give its Run, or name a datasheet, sim:SKU"
        )
    if faults:
        raise UserError(
            f"--device sim:{sku},{','.join(faults)}: serving reads the datasheet alone; leave {faults[0]} out"
        )
    try:
        return of_product(sku)
    except UnknownProduct as error:
        raise UserError(str(error)) from None


def _request(options: ServingArguments) -> Any:
    from bench.analysis.serving.request import ServingRequest, served, sla
    from bench.transformer import Ranks

    # what is left out is the request's own
    asked = {
        "batches": options.batch or None,
        "contexts": options.context or None,
        "prompt": options.prompt,
        "output": options.output,
        "price": options.price,
        "mode": options.mode,
        "host": options.host,
        "sla": sla(options.sla) if options.sla else None,
    }
    return ServingRequest(
        precision=served(options.weights, options.kv),
        ranks=Ranks(tensor=options.gpus),
        **{name: value for name, value in asked.items() if value is not None},
    )
