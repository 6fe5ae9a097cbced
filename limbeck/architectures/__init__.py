"""Shapes of models as plain values: dimensions, parameter and FLOP arithmetic. No TensorFlow."""

from limbeck.architectures.bert import BertArchitecture

__all__ = ["BertArchitecture"]
