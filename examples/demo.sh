#!/usr/bin/env bash
# Asks which heap serves a real program's allocations, replays them in one that does not, tells
# why, and draws it.  Usage: demo.sh [KHEAP]; the argument is the command to run.
set -euo pipefail
cd "$(dirname "$0")/.."
kheap=${1:-kheap}
trace=examples/traces/lvgl_stress.sys.jsonl.gz

show() {
  echo
  echo "\$ kheap $*"
  "$kheap" "$@"
}

profile=(--profile release=4.4,bits=32,header=small)
echo "The LVGL stress demo of Zephyr 3.5, recorded on a heap of 48 KiB; would less do on 4.4?"
show size "$trace" "${profile[@]}"

status=0
show replay "$trace" --size 16K "${profile[@]}" || status=$?
echo
if [ "$status" -ne 1 ]; then
  echo "expected exit code 1 (an allocation failed), got $status"
  exit 1
fi
echo "Exit code 1: an allocation failed, with enough bytes free but in too small pieces."
show report "$trace" --size 16K "${profile[@]}" -o lvgl_heap.html
echo "Open lvgl_heap.html in a browser: the heap over time, and what lay where as it failed."
