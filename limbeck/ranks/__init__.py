"""The processes of one run: who this one is, and what they do together. Only importer of Horovod.

A process that was not started under MPI never imports Horovod; its world has one rank and every
collective is the identity.
"""

from limbeck.ranks.collectives import (
    adasum_group,
    barrier,
    broadcast_bytes,
    broadcast_variables,
    gather_bytes,
    num_ranks,
    sum_group,
    sum_group_float16,
    sum_vector,
)
from limbeck.ranks.elastic import ElasticState, HostsChanged, run_elastic
from limbeck.ranks.together import agree, fail_alone
from limbeck.ranks.world import World, core_threads, init, is_elastic, launched_under_mpi

__all__ = [
    "ElasticState",
    "HostsChanged",
    "World",
    "adasum_group",
    "agree",
    "barrier",
    "broadcast_bytes",
    "broadcast_variables",
    "core_threads",
    "fail_alone",
    "gather_bytes",
    "init",
    "is_elastic",
    "launched_under_mpi",
    "num_ranks",
    "run_elastic",
    "sum_group",
    "sum_group_float16",
    "sum_vector",
]
