"""Tiny models of every family and head, as transformers makes and saves them."""

from pathlib import Path
from typing import Any

import numpy as np

_SIZES = {
    "vocab_size": 97,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _SIZES,
    "roberta": {**_SIZES, "max_position_embeddings": 42, "type_vocab_size": 1},
    "xlm-roberta": {**_SIZES, "max_position_embeddings": 42, "type_vocab_size": 1},
    "distilbert": {
        "vocab_size": 97,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 40,
    },
    "electra": {**_SIZES, "embedding_size": 12},
    "albert": {**_SIZES, "embedding_size": 12},
    "megatron-bert": _SIZES,
    "gpt2": {
        "vocab_size": 97,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_inner": 24,
        "n_positions": 40,
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "llama": {**_SIZES, "num_key_value_heads": 1},
}
"""Family -> what its config is told."""

_TASKS = ("encoder", "masked_lm", "classifier", "token_classifier", "question_answering")
CASES = [
    *(("bert", head) for head in (*_TASKS, "next_sentence", "pretraining")),
    *(("roberta", head) for head in _TASKS),
    ("xlm-roberta", "masked_lm"),
    *(("distilbert", head) for head in _TASKS),
    *(("electra", head) for head in (*_TASKS, "replaced_token")),
    *(("albert", head) for head in (*_TASKS, "pretraining")),
    *(("megatron-bert", head) for head in (*_TASKS, "next_sentence", "pretraining")),
    *((family, head) for family in ("gpt2", "llama") for head in ("decoder", "causal_lm")),
]
"""(family, head) that transformers has."""

NUM_LABELS = 3


def make(torch: Any, transformers: Any, family: str, head: str, **changes: Any) -> Any:
    """A model of transformers with weights that no symmetry hides."""
    from limbeck.architectures.hf_families import FAMILIES

    torch.manual_seed(len(family) + len(head))
    config = transformers.AutoConfig.for_model(family, **{**CONFIGS[family], **changes})
    if head in ("classifier", "token_classifier"):
        config.num_labels = NUM_LABELS
    model = getattr(transformers, FAMILIES[family].heads[head])(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            centre = 1.0 if parameter.dim() == 1 and bool((parameter == 1).all()) else 0.0
            parameter.normal_(centre, 0.15)
    return model


def write(model: Any, directory: Path) -> Path:
    """Saves one as transformers does."""
    model.save_pretrained(directory)
    return directory


def batch(family: str, *, seed: int = 0, tokens: int = 9) -> dict[str, np.ndarray]:
    """Three rows of lengths 9, 5 and 1; segments where the family has them."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, 97, (3, tokens)).astype(np.int32)
    mask = (np.arange(tokens) < np.array([[tokens], [5], [1]])).astype(np.int32)
    pad = 1 if "roberta" in family else 0
    segments = np.zeros_like(ids)
    if family in ("bert", "electra", "albert", "megatron-bert"):
        segments = (np.arange(tokens) >= 3).astype(np.int32) * mask
    return {"ids": np.where(mask == 1, ids, pad), "segment_ids": segments, "attention_mask": mask}


def theirs(torch: Any, model: Any, family: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What transformers answers: logits (or states) as a list of arrays."""
    inputs = {
        "input_ids": torch.tensor(arrays["ids"], dtype=torch.long),
        "attention_mask": torch.tensor(arrays["attention_mask"], dtype=torch.long),
    }
    if family not in ("distilbert", "gpt2", "llama"):
        inputs["token_type_ids"] = torch.tensor(arrays["segment_ids"], dtype=torch.long)
    with torch.no_grad():
        answer = model(**inputs)
    names = (
        "prediction_logits",
        "seq_relationship_logits",
        "sop_logits",
        "logits",
        "start_logits",
        "end_logits",
        "last_hidden_state",
    )
    return [answer[name].numpy() for name in names if answer.get(name) is not None]


def ours(model: Any, head: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What our model answers, in the same order."""
    values = (arrays["ids"], arrays["segment_ids"], arrays["attention_mask"])
    if head in ("masked_lm", "causal_lm"):
        return [model.logits(model.encode(*values).last).numpy()]
    if head in ("encoder", "decoder"):
        return [model.encode(*values).last.numpy()]
    if head == "pretraining":
        positions = np.tile(np.arange(values[0].shape[1], dtype=np.int32), (len(values[0]), 1))
        answer = model(*values, positions)
        return [answer.masked.numpy(), answer.next_sentence.numpy()]
    answer = model(*values)
    if head == "question_answering":
        return [answer.start.numpy(), answer.end.numpy()]
    return [answer.numpy()]


def greatest_difference(
    first: list[np.ndarray], second: list[np.ndarray], mask: np.ndarray
) -> float:
    """At real tokens; the answers must be of equal number and shape."""
    assert [a.shape for a in first] == [b.shape for b in second]
    worst = 0.0
    for a, b in zip(first, second, strict=True):
        difference = np.abs(a - b)
        by_token = difference.shape[:2] == mask.shape
        worst = max(worst, float((difference[mask == 1] if by_token else difference).max()))
    return worst
