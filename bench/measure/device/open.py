"""Devices by name: "auto", "cpu", "cuda:0", a GPU's UUID, "sim:SKU,option=value"."""

import difflib
from collections.abc import Mapping
from typing import Any

from bench.measure.device.protocol import Device, DeviceError


def resolve(text: str) -> list[str]:
    """The devices that a --device names: "auto" is every CUDA GPU if there is one, else "cpu"; lists and UUIDs work.

    Raises DeviceError naming the valid ones.
    """
    if text.startswith("sim:"):
        from bench.measure.device import sim

        sim.parse(text)
        return [text]
    from bench.measure.device import cuda

    gpus = {f"cuda:{gpu.index}": gpu for gpu in cuda.visible()}
    if text == "auto":
        return list(gpus) or ["cpu"]
    chosen = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        if word.startswith("sim:"):
            raise DeviceError("a simulated device cannot be mixed with others: its options use the comma")
        if word == "cuda":
            chosen += list(gpus) or [_no_gpu(word, gpus)]
        elif word == "cpu" or word in gpus:
            chosen.append(word)
        elif word.startswith(("GPU-", "MIG-")) and len(word) >= 8:
            found = [name for name, gpu in gpus.items() if gpu.uuid.startswith(word)]
            chosen.append(found[0] if len(found) == 1 else _no_gpu(word, gpus))
        else:
            _no_gpu(word, gpus)
    if not chosen:
        raise DeviceError("--device names no device: use auto, cpu, cuda:N, a GPU's UUID or sim:SKU")
    return list(dict.fromkeys(chosen))


def _no_gpu(word: str, gpus: Mapping[str, Any]) -> str:
    here = ", ".join(["cpu", *(f"{name} ({gpu.uuid})" for name, gpu in gpus.items())])
    near = difflib.get_close_matches(word.lower(), ["auto", "cpu", *gpus, *(["cuda"] if gpus else [])], 1, 0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    if word.startswith(("cuda", "GPU-", "MIG-")) and not gpus:
        from bench.measure.device import cuda

        hint = f" {cuda.missing()}."
    raise DeviceError(f"no device {word!r} on this machine.{hint} Here: {here}; or sim:SKU (see `list`)")


def open_device(name: str, seed: int = 0, rank: int = 0, world: int = 1, ranks: int = 1) -> Device:
    """Opens "cpu" or "cuda:N" in this process. rank and world: its place in a group whose torch.distributed is up.

    ranks: how many devices of its kind take part in the Run. Raises DeviceError.
    """
    if name == "cpu":
        from bench.measure.device.cpu import open_cpu

        return open_cpu(seed, rank, world)
    from bench.measure.device.cuda import CudaDevice

    return CudaDevice(int(name.removeprefix("cuda:")), seed=seed, rank=rank, world=world, ranks=ranks)
