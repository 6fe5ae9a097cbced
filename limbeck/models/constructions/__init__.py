"""Students made from teachers: named tensors and a shape in, named tensors and a shape out.

Pure NumPy: every construction is a function of a `Construction`, which says what came from where.

    made = begin(architecture, tensors)      # the teacher's, by limbeck.models.named_variables
    made = choose_layers(made, "every-other")
    made = narrow(made, hidden_dim=384, intermediate_dim=1536)
    print(made.report())

`construct` does the steps of a recipe; `python -m limbeck.models.constructions` writes the student
as a model folder.
"""

from limbeck.models.constructions.build import construct, student_shape
from limbeck.models.constructions.choice import chosen_layers, layer_groups
from limbeck.models.constructions.construction import Construction, begin
from limbeck.models.constructions.embeddings import compress_embeddings, factorise_embeddings
from limbeck.models.constructions.importance import Importance
from limbeck.models.constructions.layers import average_layers, choose_layers
from limbeck.models.constructions.steps import Step
from limbeck.models.constructions.vocabulary import trim_vocabulary
from limbeck.models.constructions.width import narrow

__all__ = [
    "Construction",
    "Importance",
    "Step",
    "average_layers",
    "begin",
    "choose_layers",
    "chosen_layers",
    "compress_embeddings",
    "construct",
    "factorise_embeddings",
    "layer_groups",
    "narrow",
    "student_shape",
    "trim_vocabulary",
]
