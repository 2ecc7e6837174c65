"""What a child of verify.apart may do instead of trying anything; spawned, so that it lies in a module."""

import os
import time

from bench.measure.verify import assumptions, passed
from bench.schema import Check


def check(name: str) -> Check:
    return assumptions()[name].check("cpu", passed("as told"))


def dies_at_its_second(pipe, name, deep, without):
    """Ends in the middle of the second check, once."""
    for number, each in enumerate(each for each in list(assumptions())[:4] if each not in without):
        pipe.send(("trying", each))
        if number == 1 and not without:
            os._exit(9)
        pipe.send(("check", check(each)))
    pipe.send(("done", ""))


def hangs(pipe, name, deep, without):
    first, second = list(assumptions())[:2]
    if first not in without:
        pipe.send(("trying", first))
        time.sleep(600)
    pipe.send(("trying", second))
    pipe.send(("check", check(second)))
    pipe.send(("done", ""))


def cannot_open(pipe, name, deep, without):
    pipe.send(("unopened", f"{name} is in exclusive-process mode and taken"))


def ends_while_opening(pipe, name, deep, without):
    os._exit(3)
