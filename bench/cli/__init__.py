"""`python -m bench VERB`: one function per verb, no logic.

Imports sit in the verbs, so that --help loads neither torch nor plotly.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from bench.cli.codes import INCONCLUSIVE, INTERRUPTED, NOTHING, OK, USAGE, Complaint
from bench.cli.parser import parser as _parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code; complaints become one line on stderr, never a traceback."""
    # a terminal that knows no µ, or a path whose bytes are no text, must not end a Run with a traceback
    if getattr(sys.stdout, "errors", "") == "strict" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.verb:
        parser.print_help()
        return OK
    signal.signal(signal.SIGTERM, _stop)
    from bench.device import DeviceError
    from bench.lock import Held
    from bench.probes import UnknownProbe
    from bench.record import NothingToRun, TooShort
    from bench.store import RunError

    try:
        return options.function(options)
    except (Complaint, DeviceError, UnknownProbe, RunError, NothingToRun, TooShort) as error:
        if getattr(options, "nagios", False):  # which reads stdout, and 2 as critical
            print(f"GATE UNKNOWN - {error}")
            return INCONCLUSIVE
        print(f"{parser.prog} {options.verb}: {error}", file=sys.stderr)
        codes = {NothingToRun: NOTHING, Complaint: getattr(error, "code", USAGE)}
        return codes.get(type(error), USAGE)
    except Held as error:
        print(f"{parser.prog} {options.verb}: {error}", file=sys.stderr)
        return INCONCLUSIVE
    except KeyboardInterrupt:
        print(f"{parser.prog} {options.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # `bench list | head`: nobody reads on, which is no error of ours
        return OK
    except OSError as error:
        print(f"{parser.prog} {options.verb}: {error.strerror or error}", file=sys.stderr)
        return USAGE
    finally:
        _let_go()


def _let_go() -> None:
    """Flushes what is left to a reader that may be gone; Python itself would complain about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(*_: Any) -> NoReturn:
    """A polite kill is an interrupt: what was measured is kept and reported."""
    raise KeyboardInterrupt
