"""A family of a live teacher, behind the interface of `train.reading.families.Family`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import Group, Signal
from train.reading.batch import list_name
from train.starting.attention_facts import AttentionFacts, live_facts

if TYPE_CHECKING:
    from train.reading.live import LiveLabels

__all__ = ["LiveFamily"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveFamily:
    """What stands in for an opened family (`train.reading.families.Family`)."""

    name: str
    """As the recipe's terms call it."""

    signal: Signal
    """What the teacher answers with."""

    labels: "LiveLabels"
    """Where its arrays come from."""

    @property
    def fitted(self) -> Fitted:
        """The signal and what was settled for it; loads the teacher."""
        return self.labels.fitted(self.name)

    @property
    def group(self) -> Group:
        """Which positions its entries belong to."""
        return self.signal.positions

    @property
    def list_name(self) -> str:
        """Which list of a batch its entries stand in; see `train.reading.batch`."""
        return list_name(self.group)

    @property
    def hidden_dim(self) -> int:
        """Width of a hidden family's states."""
        return self.labels.facts.hidden_dim

    @property
    def num_logits(self) -> int:
        """Ids that a final family's decoder predicts."""
        return self.labels.facts.vocab_size

    @property
    def num_labels(self) -> int:
        """Outputs of the teacher's task head."""
        return self.labels.facts.num_labels

    @property
    def attention(self) -> AttentionFacts:
        """How the teacher's layers attend; loads nothing."""
        return live_facts(self.labels.facts)
