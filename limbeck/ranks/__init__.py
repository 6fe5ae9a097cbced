"""The processes of one run: who this one is, and what they do together. Only importer of Horovod.

A process that was not started under MPI never imports Horovod; its world has one rank and every
collective is the identity.
"""

from limbeck.ranks.collectives import (
    barrier,
    broadcast_bytes,
    broadcast_variables,
    gather_bytes,
    sum_group,
    sum_group_float16,
    sum_vector,
)
from limbeck.ranks.together import agree, fail_alone
from limbeck.ranks.world import World, core_threads, init, launched_under_mpi

__all__ = [
    "World",
    "agree",
    "barrier",
    "broadcast_bytes",
    "broadcast_variables",
    "core_threads",
    "fail_alone",
    "gather_bytes",
    "init",
    "launched_under_mpi",
    "sum_group",
    "sum_group_float16",
    "sum_vector",
]
