"""The verbs as one typed application, each loaded when it is called; a wrong word becomes one clear line."""

import difflib
from collections.abc import Callable, Sequence
from inspect import BoundArguments
from typing import Any, Literal, get_args, get_origin

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

import bench
from bench.cli.codes import UserError
from bench.cli.options import shown

# In the order that help lists them: where each verb is, which is loaded when it is called, and what it is for.
VERBS = {
    "doctor": ("bench.cli.machine:doctor", "what is here, what would be measured, what to fix first"),
    "verify": ("bench.cli.machine:verify", "does the instrument read true here? every assumption of it, tried"),
    "all": ("bench.cli.measuring:everything", "measure everything here, write the Run file and the HTML report"),
    "run": ("bench.cli.measuring:chosen", "measure chosen probes"),
    "report": ("bench.cli.reading:report", "write the report of a Run file: HTML, or another form"),
    "compare": ("bench.cli.reading:compare", "write a page that compares Runs with the first one"),
    "trend": ("bench.cli.reading:trend", "write a page of the headline roofs over all Runs of a product"),
    "fit": ("bench.cli.reading:fit", "print the roofs, the ridge and theory of a Run file"),
    "serving": ("bench.cli.serving:serving", "what this machine's roofs mean for serving a model"),
    "gate": ("bench.cli.gate:gate", "did this hardware become slower? measures what is followed, or takes a Run"),
    "baseline": ("bench.cli.baseline:baseline", "set what a gate expects of this machine, or show it"),
    "history": ("bench.cli.baseline:history", "the Runs that a gate remembers of a product; delete the oldest"),
    "calibrate": ("bench.cli.baseline:calibrate", "measure this machine's own noise, write what a gate must forgive"),
    "list": ("bench.cli.machine:listing", "probes, devices of this machine, simulated products"),
}
_EPILOGUE = """\
exit codes: 0 ok, 1 GPU health FAIL or a confirmed regression, 2 usage, or a file that cannot be read or written, \
3 inconclusive: not usable, invalid or a metric missing, 4 a whole device failed, 5 nothing to run, 130 interrupted.

Examples:
  python -m bench doctor    is this machine fit to be measured?
  python -m bench all       measure this machine, write Run and report
  python -m bench run --probes bandwidth,peak --budget quick
  python -m bench all --device sim:h200-sxm,gpus=8,dram@3=0.9
  python -m bench report results/PRODUCT/RUN.jsonl
  python -m bench baseline set results/PRODUCT/RUN.jsonl
  python -m bench gate      did this machine become slower?"""
# What is to be said of an option without its value.
_WANTED = {"--budget": "give a name or a positive duration, as quick or 90s"}


def parsed(words: Sequence[str]) -> tuple[Callable[..., int | None], BoundArguments]:
    """The function that the words call, and its arguments. Raises UserError for words that call none."""
    app = _app()
    if not words or {"-h", "--help", "--version"} & set(words):  # only these need what draws them
        app.console, app.help_formatter = _drawn()
    try:
        function, arguments, _ = app.parse_args(list(words), print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise UserError(_line(error)) from None
    return function, arguments


def _app() -> App:
    app = App(
        name="bench",
        help="Empirical rooflines: what this machine really does, beside what its datasheet says.",
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        usage="Usage: bench VERB [OPTIONS]; bench VERB --help says which",
        group_commands="Verbs",
        group_parameters="Options",
        version=f"ridgepoint {bench.__version__}",
        default_parameter=Parameter(negative=(), allow_repeating=True, show_default=shown),
    )
    for at, (name, (place, text)) in enumerate(VERBS.items()):
        app.command(place, name=name, help=text, sort_key=at, help_epilogue="")
    return app


def _drawn() -> tuple[Any, Any]:
    """(console, formatter of help): plain tables, which every terminal and pipe can show."""
    from cyclopts.help import DefaultFormatter, PanelSpec
    from rich.box import Box

    from bench.cli.console import open_console

    bare = Box("    \n" * 8)
    return open_console(stderr=False), DefaultFormatter(panel_spec=PanelSpec(box=bare, padding=(0, 0)))


def _line(error: CycloptsError) -> str:
    """What is wrong with the words, and the nearest right ones."""
    argument = error.argument.name if error.argument else ""
    match error:
        case UnknownCommandError(unused_tokens=[word, *_]):
            return f"unknown verb {word!r}: {_nearest(word, list(VERBS))}"
        case UnknownOptionError(token=token):
            word = (token.keyword or token.value).split("=")[0]
            options = [name for each in error.argument_collection for name in each.names if each.parse]
            return f"unknown option {word}: {_nearest(word, [*options, '--help'], 1)}"
        case MissingArgumentError() if argument.startswith("-"):
            name = error.keyword or argument
            return f"argument {name}: {_WANTED.get(name, 'expected one argument')}"
        case MissingArgumentError():
            return f"the following arguments are required: {argument}"
        case UnusedCliTokensError(unused_tokens=words):
            return f"unrecognized arguments: {' '.join(words or ())}"
        case CoercionError(token=token, target_type=kind) if token and get_origin(kind) is Literal:
            what = (token.keyword or argument).lstrip("-").lower()
            return f"unknown {what} {token.value!r}: {_nearest(token.value, list(get_args(kind)))}"
        case CoercionError(token=token, msg=reason) if token and reason:
            return f"argument {token.keyword or argument}: {reason}"
    error.verbose = False
    return str(error)


def _nearest(word: str, known: list[str], most: int = 2) -> str:
    near = difflib.get_close_matches(word, known, most, 0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
