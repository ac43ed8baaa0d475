#!/usr/bin/env bash
#SBATCH --requeue
#SBATCH --signal=USR1@120
#SBATCH --open-mode=append
# Train as a Slurm job that is queued again, and goes on, when it is preempted or its time is up: tools/train.py under
# srun, one task a GPU.
#
#   sbatch --nodes 2 --ntasks-per-node 8 --gres gpu:8 --cpus-per-task 5 [options of sbatch] \
#       tools/slurm_train.sh CONFIG [options of tools/train.py]
#
# 120 seconds before the end Slurm sends SIGUSR1: the tasks save a checkpoint and end with exit code 75, and the job is
# queued again. Started again it resumes from the newest intact checkpoint by itself. SIGUSR1 sent by hand
# (scancel --signal=USR1 JOBID) does the same.
set -uo pipefail
if [ $# -lt 1 ]; then
    echo "usage: sbatch [options of sbatch] $0 CONFIG [options of tools/train.py]" >&2
    exit 2
fi
if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "$0: not in a Slurm job; submit it: sbatch [options of sbatch] $0 $*" >&2
    exit 2
fi
# Slurm runs a copy of this file from its spool folder: the tools are where the job was submitted from.
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -e "$tools/train.py" ] || tools=${SLURM_SUBMIT_DIR:-.}/tools
if ! [ -e "$tools/train.py" ]; then
    echo "$0: no tools/train.py in ${SLURM_SUBMIT_DIR:-.}: submit the job from the checkout" >&2
    exit 2
fi
# The Python of the active environment, or else of `make env`.
python=python3
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$tools/../.venv/bin/python" ]; then
    python=$tools/../.venv/bin/python
fi

# A signal that reaches this shell too must not end it; it is handed on to srun, which hands it to its tasks.
srun --wait=60 "$python" -u "$tools/train.py" "$@" --launcher slurm &
step=$!
trap 'kill -USR1 $step 2>/dev/null' USR1
wait $step
code=$?
while [ $code -gt 128 ] && kill -0 $step 2>/dev/null; do  # `wait` was interrupted by the signal
    wait $step
    code=$?
done
# 138: a task that had not begun to train, with nothing to save, was ended by the signal itself.
if [ $code -eq 75 ] || [ $code -eq 138 ]; then
    echo "$0: preempted; job $SLURM_JOB_ID is queued again"
    scontrol requeue "$SLURM_JOB_ID"
    exit
fi
exit $code
