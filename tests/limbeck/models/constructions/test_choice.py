import pytest

from limbeck.config.errors import UsageError
from limbeck.models.constructions.choice import check_choice, chosen_layers, layer_groups


@pytest.mark.parametrize(
    ("choice", "num_layers", "layers"),
    [
        ("first-3", 12, (1, 2, 3)),  # PKD's own start, TextBrewer's examples
        ("last-2", 6, (5, 6)),
        ("every-other", 6, (1, 3, 5)),
        ("every-other", 5, (1, 3, 5)),
        ("distilbert", 12, tuple(layer + 1 for layer in (0, 2, 4, 7, 9, 11))),  # from 0 there
        ("pkd-skip-6", 12, (2, 4, 6, 8, 10, 12)),
        ("pkd-last-6", 12, (7, 8, 9, 10, 11, 12)),
        ("evenly-4", 12, (3, 6, 9, 12)),  # TinyBERT: layer m of 4 is layer 3 m
        ("evenly-5", 12, (2, 5, 7, 10, 12)),  # 2.4, 4.8, 7.2, 9.6, 12
        ("evenly-4", 6, (2, 3, 5, 6)),  # 1.5 and 4.5 go up
        ("evenly-6", 6, (1, 2, 3, 4, 5, 6)),
        ([3, 1, 3], 3, (3, 1, 3)),  # order and repetition as asked
    ],
)
def test_choice_names_layers_from_1(choice, num_layers, layers):
    assert chosen_layers(choice, num_layers) == layers


@pytest.mark.parametrize("num_layers", range(1, 40))
def test_even_layers_are_distinct_and_end_with_the_last(num_layers):
    for count in range(1, num_layers + 1):
        layers = chosen_layers(f"evenly-{count}", num_layers)
        assert len(set(layers)) == count and layers[-1] == num_layers and min(layers) >= 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("first-7", "only 6 layers"),
        ("distilbert", "6 layers of 12, and there are 6"),
        ("pkd-skip-4", "4 does not divide 6; take evenly-4"),
        ("evenly-0", "'evenly-0'; expected a list of layers or one of first-K"),
        ("evry-other", "'evry-other'; expected"),
        ([], "empty"),
        ([0], "the first is 1"),
        ([1, 7], "layer 7; there are 1 to 6"),
    ],
)
def test_impossible_choice_is_refused(choice, message):
    with pytest.raises(UsageError, match=message):
        chosen_layers(choice, 6)


def test_choice_is_checked_without_a_teacher():
    check_choice("first-99")
    with pytest.raises(ValueError, match="expected a list"):
        check_choice("first")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (2, ((1, 2, 3), (4, 5, 6))),
        (4, ((1, 2), (3, 4), (5,), (6,))),  # the longer ones first
        (6, ((1,), (2,), (3,), (4,), (5,), (6,))),
        (((6, 1), (2,)), ((6, 1), (2,))),
    ],
)
def test_groups_are_neighbours_or_as_listed(groups, expected):
    assert layer_groups(groups, 6) == expected


@pytest.mark.parametrize(
    ("groups", "message"), [(7, "7 groups; there are 6"), (((1,), ()), "empty"), (((7,),), "7")]
)
def test_impossible_groups_are_refused(groups, message):
    with pytest.raises(UsageError, match=message):
        layer_groups(groups, 6)
