"""Shapes of models as plain values: dimensions, parameter and FLOP arithmetic. No TensorFlow."""

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture

__all__ = ["DecoderArchitecture", "EncoderArchitecture"]
