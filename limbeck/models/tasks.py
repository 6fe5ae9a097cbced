"""Encoders with the heads of tasks.

Classes, pairs, several labels at once and regression differ in the loss only: they all are a
`SequenceClassifier`, with as many outputs as there are classes, labels or values.
"""

# B rows, T tokens, P positions, D hidden, C outputs, V vocabulary

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from limbeck.models.basic import Layer
from limbeck.models.dropout import DropoutKeys
from limbeck.models.encoder import Encoder
from limbeck.models.encoder_model import EncoderModel
from limbeck.models.heads.dropped import DroppedDense
from limbeck.models.heads.replaced import ReplacedToken
from limbeck.models.heads.sentence import SentenceClassifier, reads_pooled
from limbeck.models.masked_lm import MaskedLM

__all__ = [
    "NextSentence",
    "Pretraining",
    "PretrainingLogits",
    "QuestionAnswering",
    "ReplacedTokenDetector",
    "SequenceClassifier",
    "SpanLogits",
    "TokenClassifier",
]


class SequenceClassifier(EncoderModel):
    """C logits a row, from the pooled output or as the family does it.

    Args:
      encoder: as in EncoderModel.
      num_labels: C.
      rate: of the head's dropout.
    """

    def __init__(self, encoder: Encoder, *, num_labels: int, rate: float, **kwargs: Any) -> None:
        shape = encoder.architecture
        super().__init__(encoder, pooler=reads_pooled(shape), name="classifier_model", **kwargs)
        self.classifier = SentenceClassifier(
            shape, num_labels=num_labels, rate=rate, name="classifier"
        )

    def heads(self) -> tuple[Layer, ...]:
        """The classifier."""
        return (self.classifier,)

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """(B, C) float32; arguments as in `encode`."""
        pooled = self.pooler is not None
        encoded = self.encode(ids, segment_ids, attention_mask, dropout=dropout, pooled=pooled)
        state = encoded.pooled if pooled else encoded.last[:, 0]
        return self.classifier(state, dropout=dropout)


class TokenClassifier(EncoderModel):
    """C logits a token.

    Args:
      encoder: as in EncoderModel.
      num_labels: C.
      rate: of the head's dropout.
    """

    def __init__(self, encoder: Encoder, *, num_labels: int, rate: float, **kwargs: Any) -> None:
        super().__init__(encoder, name="token_classifier_model", **kwargs)
        dim = encoder.architecture.hidden_dim
        self.classifier = DroppedDense(dim, num_labels, rate=rate, name="classifier")

    def heads(self) -> tuple[Layer, ...]:
        """The classifier."""
        return (self.classifier,)

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """(B, T, C) float32; arguments as in `encode`."""
        encoded = self.encode(ids, segment_ids, attention_mask, dropout=dropout)
        return self.classifier(encoded.last, dropout=dropout)


@dataclass(frozen=True, kw_only=True)
class SpanLogits:
    """Of an answer's first and last token. Padded positions have logits too: mask them."""

    start: tf.Tensor
    """(B, T) float32."""
    end: tf.Tensor
    """(B, T) float32."""


class QuestionAnswering(EncoderModel):
    """Logits of the first and the last token of an answer in the text.

    Args:
      encoder: as in EncoderModel.
      rate: of the head's dropout, which only DistilBERT has.
    """

    def __init__(self, encoder: Encoder, *, rate: float, **kwargs: Any) -> None:
        super().__init__(encoder, name="question_answering", **kwargs)
        self.span = DroppedDense(encoder.architecture.hidden_dim, 2, rate=rate, name="span")

    def heads(self) -> tuple[Layer, ...]:
        """The span's."""
        return (self.span,)

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """SpanLogits; arguments as in `encode`."""
        encoded = self.encode(ids, segment_ids, attention_mask, dropout=dropout)
        logits = self.span(encoded.last, dropout=dropout)
        return SpanLogits(start=logits[..., 0], end=logits[..., 1])


class NextSentence(EncoderModel):
    """Two logits a row: the second text follows the first (0), or not (1).

    For ALBERT: the texts stand in their order (0), or are swapped (1).

    Args:
      encoder: as in EncoderModel.
      rate: of the head's dropout, which only ALBERT has.
    """

    def __init__(self, encoder: Encoder, *, rate: float, **kwargs: Any) -> None:
        super().__init__(encoder, pooler=True, name="next_sentence_model", **kwargs)
        dim = encoder.architecture.hidden_dim
        self.next_sentence = DroppedDense(dim, 2, rate=rate, name="next_sentence")

    def heads(self) -> tuple[Layer, ...]:
        """The next sentence's."""
        return (self.next_sentence,)

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """(B, 2) float32; arguments as in `encode`."""
        encoded = self.encode(ids, segment_ids, attention_mask, dropout=dropout, pooled=True)
        return self.next_sentence(encoded.pooled, dropout=dropout)


@dataclass(frozen=True, kw_only=True)
class PretrainingLogits:
    """Of both pre-training tasks."""

    masked: tf.Tensor
    """(B, P, V) float32, at the positions asked for."""
    next_sentence: tf.Tensor
    """(B, 2) float32, see NextSentence."""


class Pretraining(MaskedLM):
    """Masked LM and next sentence on one encoder.

    Args:
      encoder: as in EncoderModel.
      rate: of the next sentence's dropout, which only ALBERT has.
    """

    def __init__(self, encoder: Encoder, *, rate: float, **kwargs: Any) -> None:
        super().__init__(encoder, name="pretraining", pooler=True, **kwargs)
        dim = encoder.architecture.hidden_dim
        self.next_sentence = DroppedDense(dim, 2, rate=rate, name="next_sentence")

    def heads(self) -> tuple[Layer, ...]:
        """Masked LM, next sentence."""
        return (self.head, self.next_sentence)

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        positions: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """PretrainingLogits; arguments as in MaskedLM."""
        encoded = self.encode(ids, segment_ids, attention_mask, dropout=dropout, pooled=True)
        return PretrainingLogits(
            masked=self.logits_at(encoded.last, positions),
            next_sentence=self.next_sentence(encoded.pooled, dropout=dropout),
        )


class ReplacedTokenDetector(EncoderModel):
    """ELECTRA's discriminator: one logit a token, above 0 where it takes the token for replaced.

    Args:
      encoder: as in EncoderModel.
    """

    def __init__(self, encoder: Encoder, **kwargs: Any) -> None:
        super().__init__(encoder, name="replaced_token", **kwargs)
        self.replaced = ReplacedToken(encoder.architecture, name="replaced")

    def heads(self) -> tuple[Layer, ...]:
        """The discriminator's."""
        return (self.replaced,)

    def call(
        self,
        ids: tf.Tensor,
        segment_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        *,
        dropout: DropoutKeys | None = None,
    ) -> Any:
        """(B, T) float32; arguments as in `encode`."""
        return self.replaced(self.encode(ids, segment_ids, attention_mask, dropout=dropout).last)
