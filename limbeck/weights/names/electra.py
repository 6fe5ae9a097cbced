"""ELECTRA's names, generator and discriminator (Clark et al., 2020)."""

from limbeck.weights.names.bert import BERT, TENSORFLOW_BODY
from limbeck.weights.names.table import NameTable

__all__ = ["ELECTRA"]

ELECTRA = NameTable(
    family="electra",
    prefix="electra.",
    body={
        **{ours: theirs for ours, theirs in BERT.body.items() if ours != "pooler"},
        "encoder/embeddings/projection": "embeddings_project",
    },
    heads={
        "masked_lm": {
            "head/transform": "generator_predictions.dense",
            "head/norm": "generator_predictions.LayerNorm",
            "head/output_bias": "generator_lm_head.bias",
        },
        "replaced_token": {
            "replaced/dense": "discriminator_predictions.dense",
            "replaced/output": "discriminator_predictions.dense_prediction",
        },
        "classifier": {
            "classifier/dense": "classifier.dense",
            "classifier": "classifier.out_proj",
        },
        "token_classifier": {"classifier": "classifier"},
        "question_answering": {"span": "qa_outputs"},
    },
    tied={"generator_lm_head.weight": "embeddings.word_embeddings.weight"},
    constants=BERT.constants,
    spellings=BERT.spellings,
    tensorflow={
        **{
            ours: theirs.replace("bert/", "electra/", 1)
            for ours, theirs in TENSORFLOW_BODY.items()
            if ours != "pooler"
        },
        "encoder/embeddings/projection": "electra/embeddings_project",
        "head/transform": "generator_predictions/dense",
        "head/norm": "generator_predictions/LayerNorm",
        "head/output_bias": "generator_predictions/output_bias",
        "replaced/dense": "discriminator_predictions/dense",
        "replaced/output": "discriminator_predictions/dense_1",
    },
)
