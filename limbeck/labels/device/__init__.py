"""TensorFlow twins of `limbeck.labels`: encoding beside the teacher, targets beside the student.

Imported only by extract, train and teachers. Each function is tested against its NumPy twin.
"""

from limbeck.labels.device.encode import encode

__all__ = ["encode"]
