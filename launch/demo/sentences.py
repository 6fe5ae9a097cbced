"""The three sentences that the demonstration's models are asked to complete."""

# General knowledge of the kind that an encyclopedia's articles hold, one mask each; written for
# this purpose, so they stand in no corpus.
SENTENCES = (
    "The river flows through the [MASK] of the country and into the sea.",
    "He was [MASK] in 1809 and died in 1865.",
    "The theory was first [MASK] by a German physicist.",
)
