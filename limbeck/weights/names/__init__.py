"""Which tensor of which checkpoint is which variable of ours: one table a family."""

from limbeck.weights.names.albert import ALBERT
from limbeck.weights.names.bert import BERT
from limbeck.weights.names.distilbert import DISTILBERT
from limbeck.weights.names.electra import ELECTRA
from limbeck.weights.names.gpt2 import GPT2
from limbeck.weights.names.llama import LLAMA
from limbeck.weights.names.megatron_bert import MEGATRON_BERT
from limbeck.weights.names.roberta import ROBERTA, XLM_ROBERTA
from limbeck.weights.names.table import NameTable, Place

__all__ = ["NameTable", "Place", "table_of"]

_TABLES = {
    table.family: table
    for table in (
        BERT,
        ROBERTA,
        XLM_ROBERTA,
        DISTILBERT,
        ELECTRA,
        ALBERT,
        MEGATRON_BERT,
        GPT2,
        LLAMA,
    )
}


def table_of(family: str) -> NameTable:
    """The table of `architecture.family`."""
    return _TABLES[family]
