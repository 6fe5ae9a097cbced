#!/bin/bash
# Submit it with: sbatch FILE
# Written by: python -m launch render slurm --name distil --nodes 2 --ranks-per-node 8 --gpus-per-node 8 --cpus-per-rank 12 --time 2-00:00:00 --partition gpu --account lab --qos high --constraint 'a100&ib' --container-image 'registry.example#limbeck/gpu:1' --container-mounts /lustre:/lustre --container-mounts /local:/scratch:rw --directory /lustre/work --stage '/lustre/labels --to /scratch --budget 500GB' --set hierarchical_allreduce=true --env NCCL_SOCKET_IFNAME=ib0 -- python -m train run recipe.yaml --run-dir runs/two
#SBATCH --job-name=distil
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --gpus-per-node=8
#SBATCH --time=2-00:00:00
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --qos=high
#SBATCH --constraint=a100&ib
#SBATCH --output=distil-%j.log
#SBATCH --open-mode=append
#SBATCH --mem=0
#SBATCH --signal=B:USR1@120
#SBATCH --exclusive
#SBATCH --requeue
set -euo pipefail

export HOROVOD_HIERARCHICAL_ALLREDUCE=1
export NCCL_SOCKET_IFNAME=ib0
cd /lustre/work

# Data on the nodes' own disks, once on each.
srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=1 --label '--container-image=registry.example#limbeck/gpu:1' --container-mounts=/lustre:/lustre,/local:/scratch:rw --container-workdir=/lustre/work python -m launch stage /lustre/labels --to /scratch --budget 500GB

# Shortly before the time is up the scheduler sends SIGUSR1 to this script. The ranks are
# then asked to stop; training writes a checkpoint first and goes on from it next time.
# scancel asks the job's steps; srun would answer a SIGTERM by killing its tasks.
stopping=
woken=
trap 'stopping=1 woken=1; scancel --signal=TERM "$SLURM_JOB_ID" || true' USR1
# Whoever ends the job before may ask for the same, and does not want it back.
trap 'woken=1; scancel --signal=TERM "$SLURM_JOB_ID" || true' TERM

srun --mpi=pmix --kill-on-bad-exit=1 --label --nodes=2 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=12 --cpu-bind=none '--container-image=registry.example#limbeck/gpu:1' --container-mounts=/lustre:/lustre,/local:/scratch:rw --container-workdir=/lustre/work python -m train run recipe.yaml --run-dir runs/two &
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
