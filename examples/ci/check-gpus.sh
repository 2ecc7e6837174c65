#!/bin/sh
# Is every GPU here that should be, and of the right kind? Asked before measuring, because a gate over the seven GPUs
# that are left says nothing about the eighth, and --device auto measures the CPU where there is no GPU at all.
#
#   check-gpus.sh "NVIDIA H200" 8
#
# Prints the GPUs as CSV. Exit codes: 0 all there, 1 one is missing or another product, 2 usage.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: check-gpus.sh NAME COUNT, with the name that nvidia-smi prints" >&2
    exit 2
fi
if ! found=$(nvidia-smi --query-gpu=name,uuid,driver_version,vbios_version,pci.bus_id --format=csv,noheader); then
    echo "check-gpus: nvidia-smi failed (above): the driver does not answer, or a GPU is lost" >&2
    exit 1
fi
printf '%s\n' "$found"
right=$(printf '%s\n' "$found" | awk -F ', ' -v name="$1" '$1 == name' | wc -l)
all=$(printf '%s\n' "$found" | grep -c ', ' || true)
if [ "$right" -ne "$2" ] || [ "$all" -ne "$2" ]; then
    echo "check-gpus: expected $2 x $1, found $((right)) of it among $all GPUs" >&2
    exit 1
fi
