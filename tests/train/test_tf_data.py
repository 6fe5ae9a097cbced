import numpy as np

from limbeck.config import yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.recipe import Recipe
from train.tf_data import as_tf_dataset


def test_adapter_gives_the_streams_micro_batches_in_order(shared_toy):
    inputs = open_inputs(yaml_file.from_plain(Recipe, shared_toy.distil(), "recipe"))
    source = inputs.source(World(rank=1, size=2), ("masked", "all"))
    for position, num_batches in ((0, 4), (21, 2)):
        found = list(as_tf_dataset(source, position=position, num_batches=num_batches))
        assert len(found) == num_batches * source.num_micro
        for number, element in enumerate(found):
            batch = source.read(source.global_rows(position + 7 * number))
            np.testing.assert_array_equal(element["ids"], batch.micro[0]["ids"])
            logits = element["teacher"]["top"]["logits"]
            np.testing.assert_array_equal(logits, batch.micro[0]["teacher"]["top"]["logits"])
