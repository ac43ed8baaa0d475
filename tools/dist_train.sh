#!/usr/bin/env bash
# Train on several GPUs, on one machine or more: tools/train.py under torchrun.
#
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
#
# Where a worker dies, all are started again, up to MAX_RESTARTS times (default: 3), and resume from the newest intact
# checkpoint by themselves. With several machines: NNODES, this one's NODE_RANK, and the first one's MASTER_ADDR with a PORT that is free there.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -lt 2 ] || ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG GPUS [options of tools/train.py]   (GPUS: how many to use on this machine)" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2

# The torchrun of the active environment, or else of `make env`.
torchrun=$(command -v torchrun || command -v "$tools/../.venv/bin/torchrun") \
    || { echo "$0: no torchrun found: run \`make env\`, or activate an environment with torch" >&2; exit 2; }
exec "$torchrun" --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" --master-addr "${MASTER_ADDR:-127.0.0.1}" \
    --master-port "${PORT:-29500}" --nproc-per-node "$gpus" --max-restarts "${MAX_RESTARTS:-3}" \
    "$tools/train.py" "$config" --launcher pytorch "$@"
