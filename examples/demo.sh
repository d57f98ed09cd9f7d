#!/usr/bin/env bash
# Replays a real program's allocations at a heap size that serves them, then at one that does
# not.  Usage: demo.sh [KHEAP]; the argument is the command to run.
set -euo pipefail
cd "$(dirname "$0")/.."
kheap=${1:-kheap}
trace=examples/traces/lvgl_stress.sys.jsonl.gz

show() {
  echo
  echo "\$ kheap $*"
  "$kheap" "$@"
}

echo "The LVGL stress demo of Zephyr 3.5, recorded on a heap of 48 KiB; would less do on 4.4?"
show replay "$trace" --size 17K --profile release=4.4,bits=32,header=small

status=0
show replay "$trace" --size 16K --profile release=4.4,bits=32,header=small || status=$?
echo
if [ "$status" -ne 1 ]; then
  echo "expected exit code 1 (an allocation failed), got $status"
  exit 1
fi
echo "Exit code 1: an allocation failed, with enough bytes free but in too small pieces."
