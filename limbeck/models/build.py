"""Any model by the names of its family and its head."""

# C outputs of a classifier

from typing import Any, Literal, get_args

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.models.basic import Precision, made_with
from limbeck.models.causal_lm import CausalLM, DecoderModel, DecoderOnly
from limbeck.models.decoder import Decoder
from limbeck.models.encoder import Encoder
from limbeck.models.encoder_model import EncoderModel, EncoderOnly
from limbeck.models.initialisation import initialise
from limbeck.models.masked_lm import MaskedLM
from limbeck.models.names import named_variables
from limbeck.models.tasks import (
    NextSentence,
    Pretraining,
    QuestionAnswering,
    ReplacedTokenDetector,
    SequenceClassifier,
    TokenClassifier,
)

__all__ = ["HeadName", "build", "empty", "head_rate"]

HeadName = Literal[
    "encoder",
    "masked_lm",
    "classifier",
    "token_classifier",
    "question_answering",
    "next_sentence",
    "pretraining",
    "replaced_token",
    "decoder",
    "causal_lm",
]
"""`encoder` and `decoder` are these alone; an encoder has its pooler where the family has one."""

_DECODER_HEADS = ("decoder", "causal_lm")


def build(
    architecture: EncoderArchitecture | DecoderArchitecture,
    *,
    head: HeadName = "masked_lm",
    seed: int,
    **options: Any,
) -> Any:
    """Makes a model with freshly drawn weights.

    Matrices are drawn from a normal distribution of standard deviation `initializer_range`, cut at
    two deviations, each from (seed, its name); norms start at 1 and 0, biases at 0. Neither global
    seeds nor what the process did before have a part, so every rank gets the same weights.

    Args:
      architecture: the model's shape.
      head: what reads its states.
      seed: any integer.
      **options: as in `empty`.

    Raises:
      UsageError: a head that the architecture cannot have.
    """
    model = empty(architecture, head=head, **options)
    initialise(named_variables(model), seed=seed, deviation=architecture.initializer_range)
    return model


def empty(
    architecture: EncoderArchitecture | DecoderArchitecture,
    *,
    head: HeadName = "masked_lm",
    num_labels: int = 2,
    head_dropout: float | None = None,
    pooler: bool = True,
    vocab_multiple: int = 1,
    precision: Precision | None = None,
) -> Any:
    """Makes a model whose weights are still to be assigned.

    Args:
      architecture: the model's shape.
      head: what reads its states.
      num_labels: C: outputs of `classifier` and `token_classifier`.
      head_dropout: rate in a head that drops in the original; None: what transformers takes where
        a checkpoint says nothing.
      pooler: whether the head `encoder` has the pooler of its family.
      vocab_multiple: columns of the vocabulary product are filled up to a multiple of it; the
        logits are the same.
      precision: Keras policy of every layer; None: the global one.

    Raises:
      UsageError: a head that the architecture cannot have.
    """
    _check_head(architecture, head)
    for name, value in (("num_labels", num_labels), ("vocab_multiple", vocab_multiple)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    with made_with(precision):
        if isinstance(architecture, DecoderArchitecture):
            model = _decoder_model(Decoder(architecture), head, vocab_multiple)
        else:
            rate = head_rate(architecture, head, head_dropout)
            model = _encoder_model(
                Encoder(architecture),
                head,
                num_labels=num_labels,
                rate=rate,
                pooler=pooler and architecture.has_pooler,
                vocab_multiple=vocab_multiple,
            )
        model.build()
    return model


def _check_head(architecture: EncoderArchitecture | DecoderArchitecture, head: str) -> None:
    if head not in get_args(HeadName):
        raise UsageError(f"head is {head!r}; there are {', '.join(get_args(HeadName))}")
    if isinstance(architecture, DecoderArchitecture):
        if head not in _DECODER_HEADS:
            raise UsageError(f"head {head!r} needs an encoder, and {architecture.family} is none")
        return
    if head in _DECODER_HEADS:
        raise UsageError(f"head {head!r} needs a decoder, and {architecture.family} is none")
    if head in ("next_sentence", "pretraining") and not architecture.has_pooler:
        raise UsageError(f"head {head!r} needs a pooler, and {architecture.family} has none")


def _decoder_model(decoder: Decoder, head: str, vocab_multiple: int) -> DecoderModel:
    if head == "decoder":
        return DecoderOnly(decoder)
    return CausalLM(decoder, vocab_multiple=vocab_multiple)


def _encoder_model(
    encoder: Encoder, head: str, *, num_labels: int, rate: float, pooler: bool, vocab_multiple: int
) -> EncoderModel:
    match head:
        case "encoder":
            return EncoderOnly(encoder, pooler=pooler)
        case "masked_lm":
            return MaskedLM(encoder, vocab_multiple=vocab_multiple)
        case "classifier":
            return SequenceClassifier(encoder, num_labels=num_labels, rate=rate)
        case "token_classifier":
            return TokenClassifier(encoder, num_labels=num_labels, rate=rate)
        case "question_answering":
            return QuestionAnswering(encoder, rate=rate)
        case "next_sentence":
            return NextSentence(encoder, rate=rate)
        case "pretraining":
            return Pretraining(encoder, rate=rate, vocab_multiple=vocab_multiple)
    return ReplacedTokenDetector(encoder)


# Rates that transformers takes where a checkpoint's configuration says nothing of a head.
_RATES = {
    ("distilbert", "classifier"): 0.2,
    ("distilbert", "question_answering"): 0.1,
    ("albert", "classifier"): 0.1,
    ("albert", "token_classifier"): 0.1,
    ("albert", "pretraining"): 0.1,
}


def head_rate(architecture: EncoderArchitecture, head: str, given: float | None = None) -> float:
    """Rate of a head's dropout. Classifiers drop in all families; the others hardly ever."""
    drops = head in ("classifier", "token_classifier") or (architecture.family, head) in _RATES
    if not drops:
        return 0.0
    if given is not None:
        return given
    return _RATES.get((architecture.family, head), architecture.hidden_dropout)
