import numpy as np
import pytest

from limbeck.config.errors import UsageError
from limbeck.models.constructions import average_layers, begin, choose_layers

KERNEL = "encoder/layer_{}/feed_forward/outer/kernel"


def assert_same_tensors(made, teacher):
    assert list(made.tensors) == list(teacher.tensors)
    for name, tensor in made.tensors.items():
        np.testing.assert_array_equal(tensor, teacher.tensors[name])


def test_all_layers_are_the_teacher(make_teacher):
    teacher = make_teacher()
    for made in (choose_layers(teacher, "first-4"), average_layers(teacher, 4)):
        assert made.architecture == teacher.architecture
        assert_same_tensors(made, teacher)
        assert made.origins == teacher.origins


def test_first_layers_compute_what_the_teachers_do(make_teacher, run):
    teacher = make_teacher()
    _, theirs = run(teacher)
    _, ours = run(choose_layers(teacher, "first-2"))
    for layer in range(3):  # the same operations on the same numbers
        np.testing.assert_array_equal(ours[layer], theirs[layer])


def test_chosen_layers_come_in_the_order_asked_for_and_say_so(make_teacher):
    teacher = make_teacher()
    made = choose_layers(teacher, [4, 2])
    assert made.architecture.num_layers == 2
    for ours, theirs in ((0, 3), (1, 1)):
        tensor = made.tensors[KERNEL.format(ours)]
        np.testing.assert_array_equal(tensor, teacher.tensors[KERNEL.format(theirs)])
        assert made.origins[KERNEL.format(ours)] == KERNEL.format(theirs)
    assert made.lines == ("layers: 1 <- 4, 2 <- 2 of 4 (as listed)",)
    assert f"  {KERNEL.format(0)}  <-  {KERNEL.format(3)}\n" in made.report()


def test_average_is_the_mean_of_each_tensor(make_teacher):
    teacher = make_teacher()
    made = average_layers(teacher, 2)
    for ours, theirs in ((0, (0, 1)), (1, (2, 3))):
        parts = [teacher.tensors[KERNEL.format(i)].astype(np.float64) for i in theirs]
        expected = (parts[0] + parts[1]) / 2
        # One rounding to float32.
        np.testing.assert_allclose(made.tensors[KERNEL.format(ours)], expected, rtol=1e-7)
    assert made.lines == ("average_layers: 1 <- 1+2, 2 <- 3+4 of 4 (means)",)
    assert made.origins[KERNEL.format(1)] == f"mean of {KERNEL.format(2)}, {KERNEL.format(3)}"


def test_average_of_equal_layers_is_that_layer(make_teacher, run):
    one = make_teacher()
    twice = choose_layers(one, [1, 1, 2, 2])
    made = average_layers(twice, [[1, 2], [3, 4]])
    expected = choose_layers(one, [1, 2])
    assert_same_tensors(made, expected)


def test_shared_layers_change_in_number_only(make_teacher, run):
    teacher = make_teacher(family="albert", shared_layers=True, embedding_dim=8)
    made = choose_layers(teacher, "first-2")
    assert made.architecture.num_layers == 2
    assert_same_tensors(made, teacher)
    np.testing.assert_array_equal(run(made)[1][2], run(teacher)[1][2])
    with pytest.raises(UsageError, match="share their weights"):
        average_layers(teacher, 2)


def test_teacher_stays_as_it_was(make_teacher):
    teacher = make_teacher()
    before = {name: tensor.copy() for name, tensor in teacher.tensors.items()}
    average_layers(teacher, 2)
    assert_same_tensors(begin(teacher.architecture, before), teacher)
