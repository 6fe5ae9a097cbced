"""`python -m launch`: start jobs on several ranks, and what that needs before and after."""

from launch.dataflow import dataflow
from launch.image import image
from launch.jobs.elastic import elastic
from launch.jobs.run import run
from launch.jobs.versions import print_versions
from launch.planning.plan import plan
from launch.render.command import render
from launch.stage import stage
from launch.supervision.supervise import supervise
from limbeck.config.command import dispatch

if __name__ == "__main__":
    dispatch(
        "launch",
        {
            "run": (run, "run a command on several ranks under mpirun"),
            "supervise": (supervise, "watch a job, and start it again where that helps"),
            "elastic": (elastic, "run a command on ranks that may come and go, under horovodrun"),
            "plan": (plan, "predict bytes, communication, efficiency and time of a job"),
            "stage": (stage, "bring datasets to this host's disk, every byte checked"),
            "render": (render, "write the file that Slurm, Kubernetes or LSF takes"),
            "dataflow": (dataflow, "run a Beam pipeline on Google Cloud Dataflow"),
            "image": (image, "build a container image for CPUs, GPUs or Dataflow"),
            "versions": (print_versions, "what must be the same on every host, as JSON"),
        },
    )
