"""How gradients are summed: what is refused, and that one rank sums nothing."""

import pytest

from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.ranks import World
from train.recipe import Recipe
from train.starting.preflight import preflight


@pytest.fixture
def adasum(shared_toy):
    plain = shared_toy.distil(training={"wire": "adasum"})
    return yaml_file.load(shared_toy.write(plain, "adasum.yaml"), Recipe)


@pytest.mark.parametrize(("size", "refused"), [(1, False), (2, False), (3, True), (6, True)])
def test_adasum_is_for_powers_of_two(adasum, tmp_path, size, refused):
    world = World(rank=0, size=size)
    if not refused:
        preflight(adasum, tmp_path / "run", world)
        return
    with pytest.raises(UsageError, match=f"needs 2, 4, 8, ... ranks; there are {size}"):
        preflight(adasum, tmp_path / "run", world)


def test_adasum_is_refused_in_elastic_jobs(adasum, tmp_path, monkeypatch):
    monkeypatch.setenv("HOROVOD_ELASTIC", "1")
    monkeypatch.setenv("HOROVOD_RANK", "0")
    with pytest.raises(UsageError, match="adasum.*elastic"):
        preflight(adasum, tmp_path / "run", World(rank=0, size=2))


def test_one_rank_combines_nothing():
    tensors = [object(), object()]
    assert ranks.adasum_group(tensors, name="x") == tensors
    assert ranks.num_ranks() == 1
