"""Heads: what reads an answer off the states of a transformer."""
