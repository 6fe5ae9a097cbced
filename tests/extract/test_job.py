import pytest

from extract.job import prepare, refuse_without_space
from extract.report import plan_lines, size_text
from extract.settings import ExtractSettings, Recipe
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, SparseSignal


def test_families_larger_than_the_disk_are_refused_with_both_sizes():
    with pytest.raises(UsageError, match="need 2.5 GB more and the disk has 1.0 GB free"):
        refuse_without_space("out", needed_bytes=2_500_000_000, free_bytes=1_000_000_000)


def test_families_as_large_as_the_disk_are_accepted():
    refuse_without_space("out", needed_bytes=1000, free_bytes=1000)


def test_recipe_reads_both_kinds_of_signal():
    text = """
families:
  sparse: {kind: sparse, k: 12}
  "hidden-3": {kind: hidden, layer: 3, positions: first}
length_multiple: 32
"""
    recipe = yaml_file.loads(text, Recipe)
    assert recipe.families == {
        "sparse": SparseSignal(k=12),
        "hidden-3": HiddenSignal(layer=3, positions="first"),
    }
    assert (recipe.batch_tokens, recipe.length_multiple, recipe.threads) == (4096, 32, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"families": {}}, "families is empty"),
        ({"families": {"a/b": SparseSignal(k=1)}}, "family name 'a/b'"),  # would leave OUT
        ({"families": {"..": SparseSignal(k=1)}}, "family name '..'"),
        ({"length_multiple": 0}, "length_multiple must be at least 1, got 0"),
        ({"threads": -1}, "threads must be at least 0, got -1"),
    ],
)
def test_recipe_out_of_range_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{"families": {"a": SparseSignal(k=1)}, **values})


def test_plan_states_exact_sizes_before_the_start(examples_dir, teacher_dir, tmp_path):
    settings = ExtractSettings(
        examples=examples_dir,
        teacher=teacher_dir,
        out=str(tmp_path / "out"),
        families={"sparse": SparseSignal(k=5, temperatures=(1, 2))},
    )
    job = prepare(settings)
    with job.examples:
        lines = plan_lines(job)
        num_rows = job.examples.num_rows
        num_positions = job.examples.content.totals["labelled_positions"]
    total = job.families["sparse"].record_bytes * num_rows
    expected = (
        f"sparse: 5 ids at T 1, 2 at masked positions: {total / num_positions:,.1f} B a position, "
        f"{size_text(total)} in total"
    )
    assert lines[-1] == expected
    assert job.pending == [0, 1, 2]


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (2_000_000, "2.0 MB"),
        (3 * 10**15, "3000.0 TB"),
    ],
)
def test_sizes_are_in_powers_of_a_thousand(num_bytes, text):
    assert size_text(num_bytes) == text
