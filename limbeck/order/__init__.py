"""(seed, epoch, position) -> row: one order of the data for every number of ranks. Pure NumPy."""

from limbeck.order.batches import Boundary, GlobalBatch, Order, padded_size, rank_slice
from limbeck.order.permutation import ORDER_VERSION, Permutation, epoch_permutation
from limbeck.order.state import MAX_STATE_BYTES, StreamState

__all__ = [
    "MAX_STATE_BYTES",
    "ORDER_VERSION",
    "Boundary",
    "GlobalBatch",
    "Order",
    "Permutation",
    "StreamState",
    "epoch_permutation",
    "padded_size",
    "rank_slice",
]
