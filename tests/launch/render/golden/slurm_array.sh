#!/bin/bash
# Submit it with: sbatch FILE
# Written by: python -m launch render slurm --array 16 --array-at-once 4 --ranks-per-node 8 --gpus-per-node 8 --one-gpu-each --time 90 --environment /shared/limbeck/.venv -- python -m extract run recipe.yaml --examples examples --teacher teacher --out labels
#SBATCH --job-name=limbeck
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=90
#SBATCH --array=0-15%4
#SBATCH --output=limbeck-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --mem=0
#SBATCH --signal=B:USR1@120
#SBATCH --exclusive
#SBATCH --requeue
set -euo pipefail

environment=/shared/limbeck/.venv
if [[ ! -x $environment/bin/python ]]; then
    echo "$environment: no Python here on $(hostname); give --environment" >&2
    exit 2
fi
export PATH="$environment/bin:$PATH"
# The package index's Open MPI finds its parts by this.
if [[ -x $environment/bin/mpirun ]]; then export OPAL_PREFIX="$environment"; fi

# Shortly before the time is up the scheduler sends SIGUSR1 to this script. The ranks are
# then asked to stop; training writes a checkpoint first and goes on from it next time.
# scancel asks the job's steps; srun would answer a SIGTERM by killing its tasks.
stopping=
woken=
trap 'stopping=1 woken=1; scancel --signal=TERM "$SLURM_JOB_ID" || true' USR1
# Whoever ends the job before may ask for the same, and does not want it back.
trap 'woken=1; scancel --signal=TERM "$SLURM_JOB_ID" || true' TERM

srun --mpi=pmix --kill-on-bad-exit=1 --label --nodes=1 --ntasks=8 --ntasks-per-node=8 --cpu-bind=none bash -c 'n=${OMPI_COMM_WORLD_LOCAL_RANK:-${SLURM_LOCALID:-0}}; IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES:-}"; CUDA_VISIBLE_DEVICES=${gpus[n]:-$n} exec "$@"' bash python -m extract run recipe.yaml --examples examples --teacher teacher --out labels &
step=$!
# A signal ends `wait` before the step has ended.
while :; do
    woken=
    code=0
    wait "$step" || code=$?
    [[ -n $woken ]] || break
done
if [[ -n $stopping && $code -ne 0 ]]; then
    if [[ ${SLURM_RESTART_COUNT:-0} -lt 20 ]]; then
        scontrol requeue "$SLURM_JOB_ID"
    else
        echo "stopped before the end after 20 requeues; submit again" >&2
    fi
fi
exit "$code"
