"""A device that computes nothing: tensors without memory, launches without effect, a list of the kernels asked for."""

from collections.abc import Callable
from functools import partial
from typing import Any

from bench.measure.device.dtypes import torch_dtype
from bench.measure.device.protocol import Kernel
from bench.schema import DeviceInfo


class Blank:
    """As much of the Device protocol as preparing a case needs, on torch's meta tensors."""

    rank, world = 0, 1

    def __init__(self, info: DeviceInfo):
        self.info = info
        self.kernels: list[Kernel] = []

    def empty(self, *shape: int, dtype: str) -> Any:
        import torch

        return torch.empty(shape, dtype=torch_dtype(dtype), device="meta")

    random = empty

    def host(self, *shape: int, dtype: str, memory: str) -> Any:
        return self.empty(*shape, dtype=dtype)

    def duplex(self, one: Callable[[], Any], other: Callable[[], Any]) -> Callable[[], Any]:
        return partial(_both, one, other)

    def rotation(self, launch_bytes: float, cache: str) -> int:
        return 1  # what has no memory has no cache to go around

    def load(self, kernel: Kernel) -> Callable[..., None]:
        if kernel not in self.kernels:
            self.kernels.append(kernel)
        return partial(_touch, kernel)

    def synchronize(self) -> None:
        pass

    def agree(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def all_reduce(self, tensor: Any, algorithm: str) -> Callable[[], Any]:
        return partial(_touch, None, tensor)

    def close(self) -> None:
        pass


def _touch(kernel: Kernel | None, *arguments: Any) -> None:
    """A launch on meta tensors computes nothing; an audit reads its arguments."""


def _both(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    one()
    other()
