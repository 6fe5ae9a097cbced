"""The terms that come with Limbeck; importing this registers them. No TensorFlow."""

from train.recipe.terms.attention import AttentionTerm
from train.recipe.terms.contrastive import ContrastiveTerm
from train.recipe.terms.full_logits import LogitMSETerm, SigmoidTerm
from train.recipe.terms.hidden import HiddenTerm
from train.recipe.terms.labels import (
    CausalLMTerm,
    ClassTerm,
    MaskedLMTerm,
    MultiLabelTerm,
    NextSentenceTerm,
    RegressionTerm,
    SpanTerm,
    TagTerm,
)
from train.recipe.terms.layers import EMDTerm, FSPTerm, MMDTerm
from train.recipe.terms.logits import DistributionTerm
from train.recipe.terms.relations import MiniLMTerm, RelationsTerm
from train.recipe.terms.span import SpanDistributionTerm

__all__ = [
    "AttentionTerm",
    "CausalLMTerm",
    "ClassTerm",
    "ContrastiveTerm",
    "DistributionTerm",
    "EMDTerm",
    "FSPTerm",
    "HiddenTerm",
    "LogitMSETerm",
    "MMDTerm",
    "MaskedLMTerm",
    "MiniLMTerm",
    "MultiLabelTerm",
    "NextSentenceTerm",
    "RegressionTerm",
    "RelationsTerm",
    "SigmoidTerm",
    "SpanDistributionTerm",
    "SpanTerm",
    "TagTerm",
]
