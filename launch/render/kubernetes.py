"""Files for Kubernetes: an MPIJob for ranks, an Indexed Job for workers that share shards.

`MPIJob` is kubeflow.org/v2beta1 of the MPI operator 0.8; the fields used are those of its custom
resource definition. `kubectl apply -f FILE` submits either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from launch.jobs.links import Links, Ssh
from launch.render.around import check_positive, check_supervision, supervise_words
from launch.render.mpirun_line import mpirun_words
from launch.render.pods import PodSettings, container, pod
from launch.render.quoting import comment_block
from launch.render.yaml_text import yaml_text
from limbeck.config.errors import UsageError

__all__ = ["KubernetesJob", "kubernetes_file"]

# Of our images: launch/containers. The operator puts the job's key pair into the ssh directory.
ENTRY = "/opt/limbeck/containers/mpijob.sh"
MPIRUN = "/opt/limbeck/.venv/bin/mpirun"
SSH_DIRECTORY = "/home/limbeck/.ssh"
SSH_PORT = 2222
KNOWN_HOSTS = "/tmp/limbeck-known-hosts"

# Set in the image, and not in what sshd starts.
_IMAGE_VARIABLES = ("OPAL_PREFIX", "TF_CPP_MIN_LOG_LEVEL")
_GPU_VARIABLES = ("LD_LIBRARY_PATH",)

# The operator's file of workers, in the launcher's pod.
HOSTFILE = "/etc/mpi/hostfile"


@dataclass(frozen=True, kw_only=True)
class KubernetesJob(PodSettings):
    """Options of `render kubernetes`."""

    out: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Where the file goes; default: standard output."""
    kind: Literal["mpijob", "indexed"] = "mpijob"
    """mpijob: ranks that train together, started by the MPI operator. indexed: pods that know
    their number, for `extract run` with its --worker auto."""
    workers: int = 1
    """Pods that compute."""
    ranks_per_worker: int = 1
    """Of an mpijob, ranks in each pod; with GPUs usually as many as it has."""
    at_once: int = 0
    """Of an indexed job, how many pods may run at once; 0 for all."""
    supervise: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    """Of an mpijob, runs mpirun under `python -m launch supervise --run-dir RUN`: its ranks'
    heartbeats are watched, and it is started again in the same pods where that helps."""
    progress_timeout: int = 0
    """Of that, seconds without progress that count as frozen; 0 for `launch supervise`'s own."""
    retries: int = 3
    """How often the job is started again after a failure; training goes on from its checkpoint."""
    limit_s: int = 0
    """Seconds after which the job is ended; 0 for no limit."""
    save_s: int = 120
    """Seconds that training has for a checkpoint when the launcher's pod is asked to end."""
    keep_s: int = 0
    """Seconds after its end at which the job is removed with its logs; 0 for never."""

    def check(self) -> None:
        """Refuses what Kubernetes would not take."""
        super().check()
        for option in ("workers", "ranks_per_worker", "save_s"):
            check_positive(option, getattr(self, option))
        for option in ("at_once", "retries", "limit_s", "keep_s"):
            check_positive(option, getattr(self, option), least=0)
        if self.kind == "indexed" and self.ranks_per_worker > 1:
            raise UsageError("--ranks-per-worker has no effect with --kind indexed")
        if self.kind == "indexed" and self.supervise:
            raise UsageError("--supervise has no effect with --kind indexed")
        check_supervision(self)
        if self.kind == "mpijob" and self.at_once:
            raise UsageError("--at-once has no effect with --kind mpijob")


def kubernetes_file(
    job: KubernetesJob, command: Sequence[str], *, written_by: Sequence[str]
) -> str:
    """Returns the file.

    Args:
      job: what it says.
      command: what each rank, or each pod of an indexed job, runs.
      written_by: our own command line, for the file's head.

    Raises:
      UsageError: a setting that Kubernetes would not take.
    """
    job.check()
    head = comment_block(written_by, ["Submit it with: kubectl apply -f FILE"])
    document = mpi_job(job, command) if job.kind == "mpijob" else indexed_job(job, command)
    return "\n".join(head) + "\n" + yaml_text(document)


def mpi_job(job: KubernetesJob, command: Sequence[str]) -> dict[str, Any]:
    """Returns the MPIJob: a launcher that runs mpirun, and workers that run sshd."""
    words = mpirun_words(
        job.workers * job.ranks_per_worker,
        command,
        program=MPIRUN,
        hostfile=HOSTFILE,
        num_hosts=job.workers,
        exported=[*_IMAGE_VARIABLES, *(_GPU_VARIABLES if job.gpus else ()), *job.variables()],
        links=Links(ssh=Ssh(port=SSH_PORT, known_hosts=KNOWN_HOSTS, attempts=10)),
    )
    words = [*supervise_words(job, hostfile=HOSTFILE), *words]
    start = container(job, [ENTRY, "launcher", *words], name="launcher", resources=False)
    work = container(job, [ENTRY, "worker"], name="worker")
    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": _metadata(job),
        "spec": {
            "slotsPerWorker": job.ranks_per_worker,
            "mpiImplementation": "OpenMPI",
            "sshAuthMountPath": SSH_DIRECTORY,
            "runPolicy": {
                "cleanPodPolicy": "Running",
                "backoffLimit": job.retries,
                **_limits(job),
            },
            "mpiReplicaSpecs": {
                "Launcher": {
                    "replicas": 1,
                    "restartPolicy": "Never",
                    "template": {
                        "spec": pod(
                            job, start, staged=False, terminationGracePeriodSeconds=job.save_s
                        )
                    },
                },
                "Worker": {
                    "replicas": job.workers,
                    "restartPolicy": "OnFailure",
                    "template": {"spec": pod(job, work, staged=True)},
                },
            },
        },
    }


def indexed_job(job: KubernetesJob, command: Sequence[str]) -> dict[str, Any]:
    """Returns the Job whose pods are numbered; `--worker auto` reads number and count."""
    # Kubernetes tells a pod its number and not how many there are.
    count = {"JOB_COMPLETIONS": str(job.workers)}
    work = container(job, command, name="worker", extra=count)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(job),
        "spec": {
            "completionMode": "Indexed",
            "completions": job.workers,
            "parallelism": min(job.at_once or job.workers, job.workers),
            "backoffLimit": job.retries,
            **_limits(job),
            "template": {
                "spec": pod(
                    job,
                    work,
                    staged=True,
                    restartPolicy="Never",
                    terminationGracePeriodSeconds=job.save_s,
                )
            },
        },
    }


def _metadata(job: KubernetesJob) -> dict[str, Any]:
    found: dict[str, Any] = {"name": job.name}
    return found | ({"namespace": job.namespace} if job.namespace else {})


def _limits(job: KubernetesJob) -> dict[str, int]:
    limits = {"activeDeadlineSeconds": job.limit_s, "ttlSecondsAfterFinished": job.keep_s}
    return {name: value for name, value in limits.items() if value}
