"""What transformers' `config.json` calls things, family by family."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ACTIVATIONS", "FAMILIES", "HfFamily"]

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""transformers' name -> ours. "gelu" is the exact one, with the error function."""


@dataclass(frozen=True, kw_only=True)
class HfFamily:
    """One `model_type`."""

    keys: Mapping[str, str]
    """Field of our architecture -> their key."""
    required: tuple[str, ...]
    """Their keys that must be there."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Their keys -> what transformers takes where one is missing, if not what we take."""
    only: Mapping[str, Any] = field(default_factory=dict)
    """Their keys -> the one value that is supported; the first stands for a missing key too."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Our head -> their class."""


_SIZES = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "hidden_dim": "hidden_size",
    "num_heads": "num_attention_heads",
    "intermediate_dim": "intermediate_size",
}
_BERT_KEYS = {
    **_SIZES,
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "activation": "hidden_act",
    "layer_norm_epsilon": "layer_norm_eps",
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "initializer_range": "initializer_range",
    "pad_id": "pad_token_id",
}
_DISTILBERT_KEYS = {
    "vocab_size": "vocab_size",
    "num_layers": "n_layers",
    "hidden_dim": "dim",
    "num_heads": "n_heads",
    "intermediate_dim": "hidden_dim",
    "max_positions": "max_position_embeddings",
    "activation": "activation",
    "hidden_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "initializer_range": "initializer_range",
    "pad_id": "pad_token_id",
}
_GPT2_KEYS = {
    "vocab_size": "vocab_size",
    "num_layers": "n_layer",
    "hidden_dim": "n_embd",
    "num_heads": "n_head",
    "intermediate_dim": "n_inner",
    "max_positions": "n_positions",
    "activation": "activation_function",
    "norm_epsilon": "layer_norm_epsilon",
    "hidden_dropout": "resid_pdrop",
    "attention_dropout": "attn_pdrop",
    "initializer_range": "initializer_range",
}
_LLAMA_KEYS = {
    **_SIZES,
    "num_kv_heads": "num_key_value_heads",
    "max_positions": "max_position_embeddings",
    "activation": "hidden_act",
    "norm_epsilon": "rms_norm_eps",
    "attention_dropout": "attention_dropout",
    "initializer_range": "initializer_range",
    "tied": "tie_word_embeddings",
}
_ENCODER_ONLY = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
_CLASSES = {
    "masked_lm": "ForMaskedLM",
    "classifier": "ForSequenceClassification",
    "token_classifier": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
}
_SENTENCE_CLASSES = {
    "next_sentence": "ForNextSentencePrediction",
    "pretraining": "ForPreTraining",
}


def _classes(name: str, classes: Mapping[str, str]) -> dict[str, str]:
    return {head: f"{name}{suffix}" for head, suffix in {"encoder": "Model", **classes}.items()}


def _encoder(name: str, classes: Mapping[str, str], **changes: Any) -> HfFamily:
    values: dict[str, Any] = {
        "keys": _BERT_KEYS,
        "required": tuple(_SIZES.values()),
        "only": _ENCODER_ONLY,
        "heads": _classes(name, classes),
    }
    return HfFamily(**{**values, **changes})


_FACTORISED_KEYS = {**_BERT_KEYS, "embedding_dim": "embedding_size"}

FAMILIES: dict[str, HfFamily] = {
    "bert": _encoder("Bert", {**_CLASSES, **_SENTENCE_CLASSES}),
    "roberta": _encoder("Roberta", _CLASSES, defaults={"pad_token_id": 1}),
    "xlm-roberta": _encoder("XLMRoberta", _CLASSES, defaults={"pad_token_id": 1}),
    "distilbert": _encoder(
        "DistilBert",
        _CLASSES,
        keys=_DISTILBERT_KEYS,
        required=("vocab_size", "n_layers", "dim", "n_heads", "hidden_dim"),
        only={"tie_word_embeddings": True},
    ),
    "electra": _encoder(
        "Electra",
        {**_CLASSES, "replaced_token": "ForPreTraining"},
        keys=_FACTORISED_KEYS,
        defaults={"embedding_size": 128},
    ),
    "albert": _encoder(
        "Albert",
        {**_CLASSES, "pretraining": "ForPreTraining"},
        keys=_FACTORISED_KEYS,
        defaults={
            "embedding_size": 128,
            "hidden_act": "gelu_new",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        only={**_ENCODER_ONLY, "num_hidden_groups": 1, "inner_group_num": 1},
    ),
    "megatron-bert": _encoder("MegatronBert", {**_CLASSES, **_SENTENCE_CLASSES}),
    "gpt2": HfFamily(
        keys=_GPT2_KEYS,
        required=("vocab_size", "n_layer", "n_embd", "n_head"),
        defaults={
            "n_positions": 1024,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "resid_pdrop": 0.1,
            "attn_pdrop": 0.1,
        },
        only={
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
            "tie_word_embeddings": True,
        },
        heads={
            "decoder": "GPT2Model",
            "causal_lm": "GPT2LMHeadModel",
            "classifier": "GPT2ForSequenceClassification",
            "token_classifier": "GPT2ForTokenClassification",
        },
    ),
    "llama": HfFamily(
        keys=_LLAMA_KEYS,
        required=tuple(_SIZES.values()),
        defaults={
            "max_position_embeddings": 2048,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
        },
        only={"attention_bias": False, "mlp_bias": False, "pretraining_tp": 1},
        heads={
            "decoder": "LlamaModel",
            "causal_lm": "LlamaForCausalLM",
            "classifier": "LlamaForSequenceClassification",
            "token_classifier": "LlamaForTokenClassification",
        },
    ),
}
"""`model_type` -> how it writes its `config.json`."""
