"""Which head a model has, and what reports call it."""

from typing import Any

from limbeck.weights.checkpoint import Checkpoint, naming_head

__all__ = [
    "FAMILY_TITLES",
    "HEAD_TITLES",
    "PART_TITLES",
    "head_of",
    "likely_head",
    "num_labels_of",
    "parts_of",
]

HEAD_TITLES = {
    "encoder": "encoder alone",
    "decoder": "decoder alone",
    "masked_lm": "masked LM",
    "causal_lm": "causal LM",
    "classifier": "sequence classifier",
    "token_classifier": "token classifier",
    "question_answering": "question answerer",
    "next_sentence": "next-sentence classifier",
    "pretraining": "pretraining model",
    "replaced_token": "replaced-token detector",
}
"""Head -> what a model with it is called."""

FAMILY_TITLES = {
    "bert": "BERT",
    "roberta": "RoBERTa",
    "xlm-roberta": "XLM-RoBERTa",
    "distilbert": "DistilBERT",
    "electra": "ELECTRA",
    "albert": "ALBERT",
    "megatron-bert": "MegatronBERT",
    "gpt2": "GPT-2",
    "llama": "Llama",
}
"""Family -> its name in sentences."""

PART_TITLES = {
    "pooler": "the pooler",
    "next_sentence": "the next-sentence head",
    "classifier": "a classifier",
    "span": "the question-answering head",
    "replaced": "the replaced-token head",
    "head": "the language-model head",
}
"""First part of a variable's name -> what it is."""

_CLASSES = {
    "EncoderOnly": "encoder",
    "DecoderOnly": "decoder",
    "MaskedLM": "masked_lm",
    "CausalLM": "causal_lm",
    "SequenceClassifier": "classifier",
    "TokenClassifier": "token_classifier",
    "QuestionAnswering": "question_answering",
    "NextSentence": "next_sentence",
    "Pretraining": "pretraining",
    "ReplacedTokenDetector": "replaced_token",
}
_PARTS = {
    "encoder": set[str](),
    "decoder": set[str](),
    "masked_lm": {"head"},
    "causal_lm": {"head"},
    "classifier": {"classifier"},
    "token_classifier": {"classifier"},
    "question_answering": {"span"},
    "next_sentence": {"next_sentence"},
    "pretraining": {"head", "next_sentence"},
    "replaced_token": {"replaced"},
}


def head_of(model: Any) -> str:
    """The head of a model of `limbeck.models.build`."""
    return _CLASSES[type(model).__name__]


def parts_of(head: str) -> set[str]:
    """First parts of the names of a head's own variables (the pooler is the encoder's)."""
    return _PARTS[head]


def num_labels_of(model: Any) -> int | None:
    """Outputs of a model's classifier; None where it has none."""
    classifier = getattr(model, "classifier", None)
    return None if classifier is None else int(classifier.kernel.shape[-1])


def likely_head(checkpoint: Checkpoint) -> str:
    """The head that a checkpoint's configuration names, or that its tensors are of."""
    family, found = checkpoint.architecture.family, set(checkpoint.found)
    decoder = any(name.startswith("decoder/") for name in found)
    if checkpoint.head is not None:
        return checkpoint.head
    if decoder and (getattr(checkpoint.architecture, "tied", False) or "head/kernel" in found):
        return "causal_lm"
    parts = {name.split("/")[0] for name in found}
    if {"head", "next_sentence", "pooler"} <= parts:
        return "pretraining"
    for part, head in (
        ("head", "masked_lm"),
        ("classifier", naming_head(family, found)),
        ("span", "question_answering"),
        ("replaced", "replaced_token"),
        ("next_sentence", "next_sentence"),
    ):
        if part in parts:
            return head
    return "decoder" if decoder else "encoder"
