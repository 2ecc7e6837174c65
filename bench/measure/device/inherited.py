"""What a spawned child finds in its environment."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def inherited(settings: Mapping[str, str]) -> Iterator[None]:
    """Children that are spawned meanwhile inherit these settings; afterwards all is as it was."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
