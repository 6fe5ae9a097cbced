"""Held-out scores and predictions: what they need, and what they are given."""
