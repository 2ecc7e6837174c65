"""Points of evaluator.js and of Python at the same questions, as plain values that compare."""

import json
import random
import shutil
import subprocess
from importlib.resources import files
from typing import Any

from bench.analysis.serving import queueing
from bench.analysis.serving.machine import PROVENANCE, Machine
from bench.analysis.serving.planner import Planner
from bench.analysis.serving.records import DEVICES, KV, WEIGHTS
from bench.analysis.serving.request import ServingRequest, served
from bench.models import models
from bench.transformer import Ranks

SCRIPT = files("bench.analysis.serving").joinpath("evaluator.js").read_text(encoding="utf-8")
LABELS = ("compute", "memory", "fixed", "communication")
# What is compared, of an answer of evaluator.js; a step's rows by their seconds
ASKED = """((data, choices) => choices.map((choice) => {
  const found = serving.evaluated(data, choice);
  const plain = (s) => s && { seconds: s.seconds, parts: s.parts, limit: s.limit, origin: s.origin,
    rows: s.rows.map((row) => [row.name, row.total]) };
  return { ...found, step: plain(found.step), first: plain(found.first) };
}))"""


def choices(count: int, seed: int = 0) -> list[dict[str, int]]:
    """Random questions, mostly answerable: every model, format and number of devices; batch and context by orders."""
    drawn, known = random.Random(seed), models()
    found = []
    for _ in range(count):
        number = drawn.randrange(len(known))
        longest = min(known[number].context, 131072)
        output = round(2 ** drawn.uniform(0, 10))
        found.append(
            {
                "model": number,
                "weights": drawn.randrange(len(WEIGHTS)),
                "kv": drawn.randrange(len(KV)),
                "devices": drawn.choice(DEVICES),
                "batch": round(2 ** drawn.uniform(0, 9)),
                "context": round(2 ** drawn.uniform(0, 17)) % (longest - output) + 1,
                "output": output,
            }
        )
    return found


def python(machine: Machine, choice: dict[str, int]) -> dict[str, Any]:
    """The answer of bench.analysis.serving."""
    model, ranks = models()[choice["model"]], Ranks(tensor=choice["devices"])
    batch, context, output = choice["batch"], choice["context"], choice["output"]
    made = served(WEIGHTS[choice["weights"]], KV[choice["kv"]])
    planner = Planner(
        model,
        machine,
        ServingRequest(
            precision=made, ranks=ranks, prompt=context, output=output, mode=machine.mode, host=machine.host
        ),
    )
    memory = planner.fits(context + output)
    found = {
        "memory": {"room": memory.room, "weights": memory.weights, "sequence": memory.sequence, "most": memory.batch}
    }
    if memory.batch < batch:
        return found | {"short": memory.weights + batch * memory.sequence - memory.room}
    step, first = planner.decode(batch, context), planner.prefill(context)
    loop = queueing.closed(batch, output, planner.decode(batch, planner.mean_context).seconds, first.seconds, False)
    return found | {
        "step": _plain(step),
        "first": _plain(first),
        "loop": {"tpot": loop.tpot, "rate": loop.rate * output, "busy": loop.busy},
        "user": 1 / step.seconds,
        "system": batch / step.seconds,
    }


def _plain(step) -> dict[str, Any]:
    return {
        "seconds": step.seconds,
        "parts": dict(step.parts),
        "limit": step.limit,
        "origin": PROVENANCE.index(step.origin),
        "rows": [[row.operation.name, row.seconds] for row in step.rows],
    }


def node(data: dict[str, Any], asked: list[dict[str, int]]) -> list[dict[str, Any]]:
    """The answers of evaluator.js, run by node."""
    program = f"""{SCRIPT};
const [data, asked] = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify({ASKED}(data, asked)));"""
    done = subprocess.run(
        [shutil.which("node"), "-e", program],
        input=json.dumps([data, asked]),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def differences(ours: Any, theirs: Any, at: str = "") -> list[str]:
    """Where an answer of evaluator.js is not Python's, to 1e-6 of a number; keys that Python lacks are not compared."""
    if isinstance(theirs, dict):
        return [line for key, value in theirs.items() for line in differences(ours.get(key), value, f"{at}.{key}")]
    if isinstance(theirs, list):
        if len(ours) != len(theirs):
            return [f"{at}: {len(ours)} rows for {len(theirs)}"]
        return [line for i, value in enumerate(theirs) for line in differences(ours[i], value, f"{at}[{i}]")]
    if isinstance(theirs, str) or ours is None or isinstance(ours, str):
        return [] if ours == theirs else [f"{at}: {ours} for {theirs}"]
    # a part that is nothing may be a rounding of nothing
    near = abs(ours - theirs) <= 1e-6 * abs(theirs) + 1e-18
    return [] if near else [f"{at}: {ours} for {theirs}"]
