"""Devices by name: "auto", "cpu", "cuda:0", a GPU's UUID, "sim:SKU,option=value"."""

import difflib
from collections.abc import Mapping

from bench.measure.device.protocol import Device, DeviceError


def resolve(text: str) -> list[str]:
    """What a --device names: "auto" is every CUDA GPU if there is one, else "cpu"; lists, UUIDs. Raises DeviceError."""
    if text.startswith("sim:"):
        from bench.measure.device import sim

        sim.parse(text)
        return [text]
    from bench.measure.device import stack

    uuids = {f"cuda:{gpu.index}": gpu.uuid for gpu in stack.visible()}
    if text == "auto":
        return list(uuids) or ["cpu"]
    chosen: list[str] = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        if word.startswith("sim:"):
            raise DeviceError("a simulated device cannot be mixed with others: its options use the comma")
        if word == "cpu" or word in uuids:
            named = [word]
        elif word.startswith(("GPU-", "MIG-")) and len(word) >= 8:
            named = [name for name, uuid in uuids.items() if uuid.startswith(word)]
        else:
            named = list(uuids) if word == "cuda" else []
        if not named or (len(named) > 1 and word != "cuda"):
            raise DeviceError(_unknown(word, uuids))
        chosen += named
    if not chosen:
        raise DeviceError("--device names no device: use auto, cpu, cuda:N, a GPU's UUID or sim:SKU")
    return list(dict.fromkeys(chosen))


def _unknown(word: str, uuids: Mapping[str, str]) -> str:
    here = ", ".join(["cpu", *(f"{name} ({uuid})" for name, uuid in uuids.items())])
    near = difflib.get_close_matches(word.lower(), ["auto", "cpu", *uuids, *(["cuda"] if uuids else [])], 1, 0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    if word.startswith(("cuda", "GPU-", "MIG-")) and not uuids:
        from bench.measure.device import stack

        hint = f" {stack.missing()}."
    return f"no device {word!r} on this machine.{hint} Here: {here}; or sim:SKU (see `list`)"


def open_device(name: str, seed: int = 0, rank: int = 0, world: int = 1, ranks: int = 1) -> Device:
    """Opens "cpu" or "cuda:N" as a rank of a group that is up; ranks: devices that take part. Raises DeviceError."""
    if name == "cpu":
        from bench.measure.device.cpu import open_cpu

        return open_cpu(seed, rank, world)
    from bench.measure.device.cuda import CudaDevice

    return CudaDevice(int(name.removeprefix("cuda:")), seed=seed, rank=rank, world=world, ranks=ranks)
