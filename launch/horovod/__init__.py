"""Builds Horovod 0.28.1, the last release, against a TensorFlow that is newer than it."""
