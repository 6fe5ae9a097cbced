#!/usr/bin/env bash
# What the pods of an MPIJob run:
#
#   mpijob.sh worker                 lets mpirun in, by sshd
#   mpijob.sh launcher COMMAND...    waits for every worker, then runs mpirun
#
# The MPI operator makes one key pair for each job and mounts it into the ssh directory of its pods.
# The workers' sshd takes it as its host key as well: the launcher knows the key of every host before
# it connects and checks it, and no key is part of the image.
set -euo pipefail

keys=${LIMBECK_SSH_KEYS:-$HOME/.ssh}
port=${LIMBECK_SSH_PORT:-2222}
known_hosts=${LIMBECK_KNOWN_HOSTS:-/tmp/limbeck-known-hosts}
hostfile=${LIMBECK_HOSTFILE:-/etc/mpi/hostfile}
wait_s=${LIMBECK_WAIT_S:-600}

fail() {
    echo "mpijob.sh: error: $1" >&2
    exit "${2:-1}"
}

worker() {
    local private
    private=$(mktemp -d)
    # A copy, since sshd refuses a key that others may read, and a mounted secret may be so.
    install -m 600 "$keys/id_rsa" "$private/host_key"
    cat > "$private/sshd_config" <<END
Port $port
HostKey $private/host_key
PidFile $private/sshd.pid
AuthorizedKeysFile $keys/authorized_keys
AuthenticationMethods publickey
StrictModes no
UsePAM no
END
    exec /usr/sbin/sshd -D -e -f "$private/sshd_config"
}

# Asks a worker for nothing, as mpirun will reach it; prints why that fails.
answers() {
    ssh -n -p "$port" -i "$keys/id_rsa" -o BatchMode=yes -o StrictHostKeyChecking=yes \
        -o "UserKnownHostsFile=$known_hosts" -o ConnectTimeout=5 "$1" true 2>&1
}

wait_for_workers() {
    local host why
    while read -r host _; do
        until why=$(answers "$host"); do
            ((SECONDS < wait_s)) || fail "$host: no answer on port $port in $wait_s s: ${why##*$'\n'}"
            sleep 1
        done
    done < "$hostfile"
}

launcher() {
    printf '* %s\n' "$(cut -d ' ' -f 1,2 "$keys/id_rsa.pub")" > "$known_hosts"
    wait_for_workers
    # mpirun passes SIGUSR1 on to every rank, which saves; at SIGTERM it would kill them.
    woken=
    trap 'woken=1; kill -USR1 "$step" || true' TERM
    "$@" &
    step=$!
    # A signal ends `wait` before the step has ended.
    while :; do
        woken=
        code=0
        wait "$step" || code=$?
        [[ -n $woken ]] || break
    done
    exit "$code"
}

role=${1:-}
shift || true
[[ $role == worker || $role == launcher ]] || fail "say worker, or launcher COMMAND" 2
[[ $role == worker || $# -gt 0 ]] || fail "launcher: give it the command" 2
[[ -r $keys/id_rsa ]] || fail "$keys/id_rsa: not there; the MPI operator mounts it"
"$role" "$@"
