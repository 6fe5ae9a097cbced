#!/bin/bash
# Submit it with: bsub < FILE
# Written by: python -m launch render lsf --nodes 2 --ranks-per-node 6 --gpus-per-node 6 --launcher jsrun --cpus-per-rank 7 --environment /shared/limbeck/.venv --stage '/gpfs/labels --to /local --budget 500GB' --set cycle_time_ms=5 -- python -m train run recipe.yaml --run-dir $'runs/two\012lines'
#BSUB -J limbeck
#BSUB -W 12:00
#BSUB -nnodes 2
#BSUB -wa USR1 -wt 2
#BSUB -Q "99"
#BSUB -r
#BSUB -o limbeck-%J.log
set -euo pipefail

environment=/shared/limbeck/.venv
if [[ ! -x $environment/bin/python ]]; then
    echo "$environment: no Python here on $(hostname); give --environment" >&2
    exit 2
fi
export PATH="$environment/bin:$PATH"
# The package index's Open MPI finds its parts by this.
if [[ -x $environment/bin/mpirun ]]; then export OPAL_PREFIX="$environment"; fi
export HOROVOD_CYCLE_TIME=5.0

# Data on the nodes' own disks, once on each.
jsrun --nrs=2 --rs_per_host=1 --tasks_per_rs=1 --cpu_per_rs=ALL_CPUS python -m launch stage /gpfs/labels --to /local --budget 500GB

# Shortly before the time is up the scheduler sends SIGUSR1 to this script. The ranks are
# then asked to stop; training writes a checkpoint first and goes on from it next time.
stopping=
woken=
trap 'stopping=1 woken=1; kill -TERM "$step" || true' USR1
# Whoever ends the job before may ask for the same, and does not want it back.
trap 'woken=1; kill -TERM "$step" || true' TERM

jsrun --nrs=12 --rs_per_host=6 --tasks_per_rs=1 --cpu_per_rs=7 --gpu_per_rs=1 --bind=none --stdio_mode=prepended python -m train run recipe.yaml --run-dir $'runs/two\012lines' &
step=$!
# A signal ends `wait` before the step has ended.
while :; do
    woken=
    code=0
    wait "$step" || code=$?
    [[ -n $woken ]] || break
done
if [[ -n $stopping && $code -ne 0 ]]; then
    exit 99  # LSF puts the job back into the queue
fi
exit "$code"
