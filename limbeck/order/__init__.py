"""(seed, epoch, position) -> row: one order of the data for every number of ranks. Pure NumPy."""

from limbeck.order.batches import Boundary, GlobalBatch, Order, padded_size, rank_slice
from limbeck.order.mixture import Mixture, size_weights, whole_weights
from limbeck.order.permutation import ORDER_VERSION, Permutation, epoch_permutation
from limbeck.order.state import MAX_STATE_BYTES, StreamState
from limbeck.order.two_level import TwoLevel, TwoLevelPermutation

__all__ = [
    "MAX_STATE_BYTES",
    "ORDER_VERSION",
    "Boundary",
    "GlobalBatch",
    "Mixture",
    "Order",
    "Permutation",
    "StreamState",
    "TwoLevel",
    "TwoLevelPermutation",
    "epoch_permutation",
    "padded_size",
    "rank_slice",
    "size_weights",
    "whole_weights",
]
