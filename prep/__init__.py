"""Text -> examples: dumps, wikitext, sentences, kinds, masking, tasks. No Beam, no TensorFlow.

Modules are imported by name (`prep.dumps.reading`, `prep.pairs`, ...): a worker process that needs
one of them should not pay for the others.
"""

__all__: list[str] = []
