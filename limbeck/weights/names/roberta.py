"""The names of RoBERTa and XLM-R (Liu et al., 2019; Conneau et al., 2020)."""

import dataclasses

from limbeck.weights.names.bert import BERT
from limbeck.weights.names.table import NameTable

__all__ = ["ROBERTA", "XLM_ROBERTA"]

ROBERTA = NameTable(
    family="roberta",
    prefix="roberta.",
    body=BERT.body,
    heads={
        "masked_lm": {
            "head/transform": "lm_head.dense",
            "head/norm": "lm_head.layer_norm",
            "head/output_bias": "lm_head.bias",
        },
        "classifier": {
            "classifier/dense": "classifier.dense",
            "classifier": "classifier.out_proj",
        },
        "token_classifier": {"classifier": "classifier"},
        "question_answering": {"span": "qa_outputs"},
    },
    tied={
        "lm_head.decoder.weight": "embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    constants=BERT.constants,
    spellings=BERT.spellings,
)

XLM_ROBERTA = dataclasses.replace(ROBERTA, family="xlm-roberta")
