#!/bin/bash
# Submit it with: bsub < FILE
# Written by: python -m launch render lsf --nodes 2 --ranks-per-node 6 --gpus-per-node 6 --queue batch --account lab --time 600 --environment /shared/limbeck/.venv --stage '/gpfs/labels --to /local --budget 500GB' --supervise '/shared/runs/the one' --progress-timeout 600 -- python -m train run recipe.yaml --run-dir runs/lsf
#BSUB -J limbeck
#BSUB -W 10:00
#BSUB -q batch
#BSUB -P lab
#BSUB -n 12
#BSUB -R "span[ptile=6]"
#BSUB -x
#BSUB -gpu "num=6:mode=shared:j_exclusive=yes"
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

mpirun=$(command -v mpirun)
hosts_file=$(mktemp)
trap 'rm -f "$hosts_file"*' EXIT
# LSF lists a node once for each of its slots.
sort "$LSB_DJOB_HOSTFILE" | uniq -c |
    sed -E 's/^ *([0-9]+) +(.*)$/\2 slots=\1/' > "$hosts_file"

# Data on the nodes' own disks, once on each.
once_file=$hosts_file.once
sed "s/slots=.*/slots=1/" "$hosts_file" > "$once_file"
"$mpirun" -np 2 --bind-to none --map-by slot --tag-output -mca pml ob1 -mca btl '^openib' -mca mpi_yield_when_idle 1 -mca oob_tcp_keepalive_time 5 -mca oob_tcp_keepalive_intvl 2 -mca oob_tcp_keepalive_probes 3 -mca orte_keep_fqdn_hostnames 1 -mca plm_rsh_args '-o BatchMode=yes -o StrictHostKeyChecking=yes' --hostfile "$once_file" ${OPAL_PREFIX:+-x OPAL_PREFIX} -x PATH python -m launch stage /gpfs/labels --to /local --budget 500GB

# Shortly before the time is up the scheduler sends SIGUSR1 to this script. The ranks are
# then asked to stop; training writes a checkpoint first and goes on from it next time.
# mpirun passes SIGUSR1 on to every rank; at SIGTERM it would kill them.
stopping=
woken=
trap 'stopping=1 woken=1; kill -USR1 "$step" || true' USR1
# Whoever ends the job before may ask for the same, and does not want it back.
trap 'woken=1; kill -USR1 "$step" || true' TERM

python -m launch supervise --run-dir '/shared/runs/the one' --progress-timeout 600 --hostfile "$hosts_file" -- "$mpirun" -np 12 --bind-to none --map-by slot --tag-output -mca pml ob1 -mca btl '^openib' -mca mpi_yield_when_idle 1 -mca oob_tcp_keepalive_time 5 -mca oob_tcp_keepalive_intvl 2 -mca oob_tcp_keepalive_probes 3 -mca orte_keep_fqdn_hostnames 1 -mca plm_rsh_args '-o BatchMode=yes -o StrictHostKeyChecking=yes' --hostfile "$hosts_file" ${OPAL_PREFIX:+-x OPAL_PREFIX} -x PATH python -m train run recipe.yaml --run-dir runs/lsf &
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
