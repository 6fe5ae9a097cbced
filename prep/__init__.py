"""Text -> training examples: dumps, wikitext, sentences, pairs, masking. No Beam, no TensorFlow.

Modules are imported by name (`prep.dump`, `prep.pairs`, ...): a worker process that needs one of
them should not pay for the others.
"""

__all__: list[str] = []
