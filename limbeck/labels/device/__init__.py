"""TensorFlow twins of `limbeck.labels`: encoding beside the teacher, targets beside the student.

Imported only by extract, train and teachers. Each function is tested against its NumPy twin.
"""

from limbeck.labels.device.hidden import encode_states
from limbeck.labels.device.sparse import target_log_probs, top_k_with_tail

__all__ = ["encode_states", "target_log_probs", "top_k_with_tail"]
