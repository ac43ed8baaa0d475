#!/usr/bin/env bash
# Test on several GPUs, on one machine or more: tools/test.py under torchrun.
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
#
# With several machines: NNODES, this one's NODE_RANK, and the first one's MASTER_ADDR with a PORT that is free there.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -lt 3 ] || [ -z "$2" ] || ! [[ $3 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of tools/test.py]   (GPUS: how many on this machine)" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3

# The torchrun of the active environment, or else of `make env`.
torchrun=$(command -v torchrun || command -v "$tools/../.venv/bin/torchrun") \
    || { echo "$0: no torchrun found: run \`make env\`, or activate an environment with torch" >&2; exit 2; }
exec "$torchrun" --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}" \
    --master-port "${PORT:-29500}" --nproc-per-node "$gpus" \
    "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
