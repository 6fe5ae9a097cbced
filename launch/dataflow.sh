#!/usr/bin/env bash
# Runs a pipeline on Google Cloud Dataflow: writes the command with every option that it needs
# there, and runs it.
#
#   launch/dataflow.sh [OPTION VALUE]... [--dry-run] VERB ARGUMENT...
#
#   launch/dataflow.sh --project my-project --region europe-west4 --temp gs://my-bucket/tmp \
#       --image europe-west4-docker.pkg.dev/my-project/images/limbeck:0.1.0 \
#       wikipedia --dump gs://my-bucket/enwiki.xml.bz2 --out gs://my-bucket/documents
#
# VERB ARGUMENT... is what `python -m beam_pipelines.VERB ARGUMENT...` takes; every path must be a
# gs:// one. It needs Beam's extra for Google Cloud (`pip install "apache-beam[gcp]"`, the version of
# requirements/base.lock) and credentials (`gcloud auth application-default login`).
#
#   --project ID            the project that pays (needed)
#   --region NAME           where the workers run; that of the bucket (needed)
#   --temp gs://...         for what is staged and what is on its way (needed)
#   --image NAME            container with this package in it, made by launch/dataflow.Dockerfile.
#                           Without one, each worker installs the package and all it needs when it
#                           starts (--setup_file), which takes minutes and its versions are not
#                           those of the lock
#   --name NAME             of the job (limbeck-VERB)
#   --max-workers N         as many workers as may be started (20)
#   --machine-type TYPE     of a worker (n2-standard-4)
#   --disk-gb N             disk of a worker (100): two to three times the largest shard, and
#                           what the image takes
#   --service-account NAME  that the workers run as (the project's default)
#   --subnetwork URL        that they are in (the default network)
#   --no-public-ips         workers without addresses of their own; needs a --subnetwork that
#                           reaches Google's services
#   --dry-run               print the command and do not run it
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
project= region= temp= image= name= account= subnetwork= no_public_ips= dry_run=
max_workers=20 machine_type=n2-standard-4 disk_gb=100

fail() {
    echo "dataflow.sh: error: $1" >&2
    exit 2
}

while [[ ${1-} == -* ]]; do
    option=$1
    case $option in
        --dry-run) dry_run=1; shift; continue ;;
        --no-public-ips) no_public_ips=1; shift; continue ;;
        -h | --help) sed -n '2,/^set -/{/^set -/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    esac
    [[ $# -ge 2 ]] || fail "$option: give it a value (see --help)"
    case $option in
        --project) project=$2 ;;
        --region) region=$2 ;;
        --temp) temp=$2 ;;
        --image) image=$2 ;;
        --name) name=$2 ;;
        --max-workers) max_workers=$2 ;;
        --machine-type) machine_type=$2 ;;
        --disk-gb) disk_gb=$2 ;;
        --service-account) account=$2 ;;
        --subnetwork) subnetwork=$2 ;;
        *) fail "$option: no such option (see --help)" ;;
    esac
    shift 2
done

[[ -n $project ]] || fail "--project is missing"
[[ -n $region ]] || fail "--region is missing"
[[ $temp == gs://* ]] || fail "--temp must be a gs:// path, not '$temp'"
[[ $# -ge 1 ]] || fail "the verb is missing, such as wikipedia (see --help)"
[[ -z $no_public_ips || -n $subnetwork ]] || fail "--no-public-ips needs a --subnetwork"
verb=$1
shift

options=(
    "project=$project"
    "region=$region"
    "temp_location=$temp"
    "staging_location=$temp/staging"
    "job_name=${name:-limbeck-${verb//_/-}}"
    "max_num_workers=$max_workers"
    "worker_machine_type=$machine_type"
    "disk_size_gb=$disk_gb"
    "experiments=use_runner_v2"
)
if [[ -n $image ]]; then
    # The image holds Beam and the package: nothing is staged.
    options+=("sdk_container_image=$image" "sdk_location=container")
else
    options+=("setup_file=$root/pyproject.toml")
fi
[[ -z $account ]] || options+=("service_account_email=$account")
[[ -z $subnetwork ]] || options+=("subnetwork=$subnetwork")
[[ -z $no_public_ips ]] || options+=("no_use_public_ips")

command=(
    "${PYTHON:-python}" -m "beam_pipelines.$verb" "$@"
    --runner DataflowRunner --beam-options "${options[@]}"
)
if [[ -n $dry_run ]]; then
    printf '%q ' "${command[@]}"
    echo
else
    exec "${command[@]}"
fi
