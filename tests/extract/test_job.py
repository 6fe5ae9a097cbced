import os
from dataclasses import replace

import pytest

from extract.inputs import check
from extract.job import prepare
from extract.report import plan_lines, signal_words, size_text
from extract.settings import ExtractSettings
from extract.space import refuse_without_space, space_of
from extract.trial import record_bytes
from limbeck.config.errors import UsageError
from limbeck.labels.signals import HiddenSignal, SparseSignal


def settings(examples_dir, teacher_dir, out, **families):
    return ExtractSettings(
        examples=examples_dir, teacher=teacher_dir, out=str(out), families=families
    )


def test_families_larger_than_the_disk_are_refused_with_both_sizes():
    with pytest.raises(UsageError, match="need 2.5 GB more and the disk has 1.0 GB free"):
        refuse_without_space("out", needed_bytes=2_500_000_000, free_bytes=1_000_000_000)


def test_families_as_large_as_the_disk_are_accepted():
    refuse_without_space("out", needed_bytes=1000, free_bytes=1000)


def test_plan_states_exact_sizes_before_the_start(
    examples_dir, teacher_dir, tmp_path, numpy_teacher
):
    signal = SparseSignal(k=5, temperatures=(1, 2))
    wanted = settings(examples_dir, teacher_dir, tmp_path / "out", sparse=signal)
    checked = check(wanted, teacher=numpy_teacher())
    with checked.examples:
        job = prepare(checked)
        sizes = {name: record_bytes(job, family, None) for name, family in job.families.items()}
        space = space_of(job, sizes)
        lines = plan_lines(job, space)
        num_rows = job.examples.num_rows
        num_positions = job.examples.content.totals["labelled_positions"]
    total = sizes["sparse"] * num_rows
    expected = (
        f"sparse: 5 ids at T 1, 2 at masked positions: {total / num_positions:,.1f} B a position, "
        f"{size_text(total)} in total"
    )
    assert lines[-2] == expected
    assert "to be written at most" in lines[-1] and "free" in lines[-1]
    assert space.needed_bytes >= total
    assert job.pending == [0, 1, 2]
    assert not os.path.exists(wanted.out)  # nothing is written before it starts


def test_shards_of_several_windows_need_room_for_one_more(
    examples_dir, teacher_dir, tmp_path, numpy_teacher
):

    wanted = settings(examples_dir, teacher_dir, tmp_path / "out", states=HiddenSignal(layer=1))
    checked = check(wanted, teacher=numpy_teacher())
    with checked.examples:
        job = prepare(checked)
        sizes = {"states": record_bytes(job, job.families["states"], None)}
        whole = space_of(job, sizes).needed_bytes
        windowed = replace(job, windows=replace(job.windows, window_rows=4))
        largest = max(shard.records for shard in job.examples.content.shards)
        assert space_of(windowed, sizes).needed_bytes == whole + int(sizes["states"] * largest)


@pytest.mark.parametrize(
    ("signal", "chosen", "words"),
    [
        (HiddenSignal(layer=3), {}, "hidden of layer 3 as float16 at all positions"),
        (
            HiddenSignal(layer=3, codec="auto", records=0.1),
            {"codec": "int8", "outliers": [1, 2]},
            "hidden of layer 3 as int8 with 2 channels in float16 at all positions of 10 % of the "
            "records",
        ),
    ],
)
def test_signals_are_described_in_words(signal, chosen, words):
    assert signal_words(signal, chosen) == words


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
