"""`python -m bench VERB`: one file per verb, no logic.

Imports sit in the verbs, so that --help loads neither torch nor plotly.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from bench.cli.app import VERBS, parsed
from bench.cli.codes import INTERRUPTED, OK, USAGE, UserError, code_of, told_in_a_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code; what the user can mend becomes one line on stderr, never a traceback."""
    # a terminal that knows no µ, or a path whose bytes are no text, must not end a Run with a traceback
    if getattr(sys.stdout, "errors", "") == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = f"bench {words[0]}" if words and words[0] in VERBS else "bench"
    try:
        function, given = parsed(words)
        signal.signal(signal.SIGTERM, _stop)
        return function(*given.args, **given.kwargs) or OK
    except UserError as error:  # what was mistyped waits for no import
        return _said(verb, str(error), error.code)
    except KeyboardInterrupt:
        return _said(verb, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # `bench list | head`: nobody reads on, which is no error of ours
        return OK
    except OSError as error:
        return _said(verb, str(error.strerror or error), USAGE)
    except told_in_a_line() as error:
        return _said(verb, str(error), code_of(error))
    finally:
        _let_go()


def _said(verb: str, line: str, code: int) -> int:
    print(f"{verb}: {line}", file=sys.stderr)
    return code


def _let_go() -> None:
    """Flushes what is left to a reader that may be gone; Python itself would complain about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(*_: Any) -> NoReturn:
    """A polite kill is an interrupt: what was measured is kept and reported."""
    raise KeyboardInterrupt
