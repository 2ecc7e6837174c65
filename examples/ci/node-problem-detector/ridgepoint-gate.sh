#!/bin/sh
# The newest verdict of the gate as a node condition: 0 no problem, 1 a problem, 2 unknown, and one line that says why.
#
# It measures nothing. node-problem-detector calls it every few minutes, ends it after seconds and runs in a container
# without CUDA, whereas a gate takes minutes and needs the GPUs for itself. So a timer gates at night, and this reads
# the textfile that `gate --export prometheus=FILE` wrote. A verdict that is old is no verdict: a gate that does not
# finish writes no file.
#
#   ridgepoint-gate.sh FILE [HOURS]     a verdict older than HOURS (36) is unknown
set -u
export LC_ALL=C
file=${1-}
hours=${2-36}

say() { # at most 80 bytes, which is where node-problem-detector cuts
    printf '%.80s\n' "$2"
    exit "$1"
}

[ -n "$file" ] || say 2 "usage: ridgepoint-gate.sh FILE [HOURS]"
case $hours in
'' | *[!0-9]*) say 2 "HOURS is not a whole number: $hours" ;;
esac
[ -r "$file" ] || say 2 "no verdict yet, or unreadable: $file"

# one line: age in hours, the verdict, defects, simulated or measured, the worst metrics
found=$(awk -v now="$(date +%s)" '
    function label(name) {
        return match($0, name "=\"[^\"]*\"") ? substr($0, RSTART + length(name) + 2, RLENGTH - length(name) - 3) : ""
    }
    /^#/ { next }
    /simulated="true"/ { simulated = 1 }
    /^ridgepoint_last_run_timestamp_seconds/ { age = (now - $NF) / 3600; timed = 1 }
    /^ridgepoint_gate_verdict\{/ && $NF == 1 { word = label("state") }
    /^ridgepoint_hardware_defects\{/ && $NF > 0 { defects += $NF; broken = broken " " label("gpu") }
    /^ridgepoint_verdict\{/ && $NF == 1 && label("state") == "regressed" {
        slow = slow (slow ? ", " : "") label("metric") " on " label("gpu")
    }
    END {
        if (!timed || word == "") exit 1
        printf "%d %s %d %s %s", int(age), word, defects, simulated ? "simulated" : "measured", defects ? broken : slow
    }' "$file") || say 2 "no verdict of the gate in $file"

# shellcheck disable=SC2086 # split on purpose: the first four are words
set -f && set -- $found
age=$1 word=$2 defects=$3 source=$4
shift 4
[ "$source" = measured ] || say 2 "the verdict of a simulated Run says nothing about this node"
[ "$age" -le "$hours" ] || say 2 "the newest verdict is $age h old: did the timer run?"
[ "$age" -ge -1 ] || say 2 "the newest verdict is of the future: is the clock right?"
[ "$defects" -eq 0 ] || say 1 "hardware defect: $*"
case $word in
ok | improved | suspicious) say 0 "$word $age h ago" ;;
regressed) say 1 "slower: $*" ;;
*) say 2 "$word $age h ago" ;;
esac
