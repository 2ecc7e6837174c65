"""CUDA bodies run on the host, thread after thread, to see which elements their index expressions really touch.

A C++ compiler stands in for NVRTC: threadIdx and its like become variables that the caller sets, a shuffle from one
lane among equal values gives the value. 16-bit pairs stand for pairs of wrapping integers, so that every lane and step
can be compared exactly. Bodies that need PTX or barriers (stream, onchip, chase, mma, wgmma) do not run this way.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

HEADER = """
#ifndef EMULATED
#define EMULATED
#include <cmath>
#define __global__ __attribute__((visibility("default")))
#define __device__ static inline
#define __shared__ static
#define __launch_bounds__(...)
#define __syncthreads()
#define __CUDA_ARCH__ 900
struct Place { unsigned x; };
extern "C" { Place blockIdx, threadIdx, blockDim, gridDim; }
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline void atomicAdd(double* to, double value) { *to += value; }
template <class T> static inline T __shfl_sync(unsigned, T value, int) { return value; }
template <int> struct Words { unsigned short low, high; };
template <int K> static inline Words<K> __hfma2(Words<K> r, Words<K> a, Words<K> b) {
    return {(unsigned short)(r.low * a.low + b.low), (unsigned short)(r.high * a.high + b.high)};
}
using __half2 = Words<0>;
using __nv_bfloat162 = Words<1>;
static inline __half2 __float2half2_rn(float v) { return {(unsigned short)(int)v, (unsigned short)(int)v}; }
static inline __nv_bfloat162 __float2bfloat162_rn(float v) { return {(unsigned short)(int)v, (unsigned short)(int)v}; }
#endif
"""
KINDS = {int: ctypes.c_longlong, float: ctypes.c_double}


def compiler() -> str | None:
    """A C++ compiler of this system; None if there is none."""
    return shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


class Emulated:
    """One .cu file as a library of this host; launch() is the whole grid, one thread after another."""

    def __init__(self, source: Path, folder: Path, threads: int):
        for name in ("cuda_fp16.h", "cuda_bf16.h"):
            (folder / name).write_text(HEADER)
        library = folder / f"{source.stem}.so"
        options = ("-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-fno-strict-aliasing", f"-DTHREADS={threads}")
        command = [compiler(), *options, f"-I{folder}", "-include", "cuda_fp16.h", "-x", "c++", source, "-o", library]
        subprocess.run(command, check=True, capture_output=True, text=True)
        self._library, self.threads = ctypes.CDLL(str(library)), threads

    def launch(self, function: str, grid: int, *arguments: Any, threads: int = 0) -> None:
        """Arguments as a Kernel's launch takes them: tensors, integers, reals."""
        call = self._library[function]
        call.restype, call.argtypes = None, [KINDS.get(type(value), ctypes.c_void_p) for value in arguments]
        values = [value if type(value) in KINDS else value.data_ptr() for value in arguments]
        names = ("blockIdx", "threadIdx", "blockDim", "gridDim")
        block, thread, size, blocks = (ctypes.c_uint.in_dll(self._library, name) for name in names)
        size.value, blocks.value = threads or self.threads, grid
        for block.value in range(grid):
            for thread.value in range(size.value):
                call(*values)
