#!/bin/bash
# Submit it with: sbatch FILE
# or inside an allocation of salloc: bash FILE
# Written by: python -m launch render slurm --nodes 65 --ranks-per-node 3 --launcher mpirun --interface ib0 --requeues 0 --environment /shared/limbeck/.venv --directory '/shared/a b' --supervise '/shared/runs/the one' --progress-timeout 600 -- python -m train run recipe.yaml --run-dir 'runs/$many'
#SBATCH --job-name=limbeck
#SBATCH --nodes=65
#SBATCH --ntasks-per-node=3
#SBATCH --time=12:00:00
#SBATCH --output=limbeck-%j.log
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
cd '/shared/a b'

mpirun=$(command -v mpirun)
hosts_file=$(mktemp)
trap 'rm -f "$hosts_file"*' EXIT
# One line for each node: its name and how many ranks it takes.
scontrol show hostnames "$SLURM_JOB_NODELIST" |
    sed 's/$/ slots=3/' > "$hosts_file"

# Shortly before the time is up the scheduler sends SIGUSR1 to this script. The ranks are
# then asked to stop; training writes a checkpoint first and goes on from it next time.
# mpirun passes SIGUSR1 on to every rank; at SIGTERM it would kill them.
stopping=
woken=
trap 'stopping=1 woken=1; kill -USR1 "$step" || true' USR1
# Whoever ends the job before may ask for the same, and does not want it back.
trap 'woken=1; kill -USR1 "$step" || true' TERM

python -m launch supervise --run-dir '/shared/runs/the one' --progress-timeout 600 --hostfile "$hosts_file" -- "$mpirun" -np 195 --bind-to none --map-by slot --tag-output -mca pml ob1 -mca btl '^openib' -mca mpi_yield_when_idle 1 -mca oob_tcp_keepalive_time 5 -mca oob_tcp_keepalive_intvl 2 -mca oob_tcp_keepalive_probes 3 -mca btl_tcp_if_include ib0 -mca oob_tcp_if_include ib0 -mca orte_keep_fqdn_hostnames 1 -mca plm_rsh_args '-o BatchMode=yes -o StrictHostKeyChecking=yes' -mca plm_rsh_no_tree_spawn 1 -mca plm_rsh_num_concurrent 65 --hostfile "$hosts_file" ${OPAL_PREFIX:+-x OPAL_PREFIX} -x PATH -x NCCL_SOCKET_IFNAME=ib0 python -m train run recipe.yaml --run-dir 'runs/$many' &
step=$!
# A signal ends `wait` before the step has ended.
while :; do
    woken=
    code=0
    wait "$step" || code=$?
    [[ -n $woken ]] || break
done
if [[ -n $stopping && $code -ne 0 ]]; then
    echo "stopped before the end; submit this script again to go on" >&2
fi
exit "$code"
