"""Checkpoints: written, kept, judged, restored, handed on to the next stage."""
