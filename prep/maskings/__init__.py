"""Ways to choose which tokens of a sequence are masked, beside BERT's own in `prep.masking`.

Modules are imported by name: `words` (whole words), `spans` (runs of words), `weights` (rare
tokens first), `interleave` (each token once), `masker` (one of them by its settings).
"""
