"""20newsgroups as files, from a source of a few messages."""

import pytest

from launch.recipes.newsgroups import convert, is_dev, read_messages
from limbeck.config.errors import LimbeckError, UsageError

HEADER = "Category\tText\nd\tstring\nclass\t\n"


@pytest.fixture
def source(tmp_path):
    lines = [f"sci.space\tmessage number {i}" for i in range(200)]
    (tmp_path / "train.tab").write_text(HEADER + "\n" + "\n".join([*lines, "sci.med\t", ""]))
    (tmp_path / "test.tab").write_text(HEADER + "sci.med\tthe only one\n")
    return tmp_path


def test_the_development_part_is_taken_by_a_hash(source, tmp_path):
    counts = convert(source, tmp_path / "out")
    assert counts["train"] + counts["dev"] == 200  # the message without text is left out
    assert 8 <= counts["dev"] <= 36  # 20 expected; four deviations of a binomial
    assert counts["test"] == 1
    for name, dev in (("train", False), ("dev", True)):
        head, *rows = (tmp_path / "out" / f"{name}.tsv").read_text().splitlines()
        assert head == "label\ttext"
        assert [is_dev(row.split("\t")[1]) for row in rows] == [dev] * counts[name]
    assert (tmp_path / "out" / "test.tsv").read_text() == "label\ttext\nsci.med\tthe only one\n"


def test_a_share_is_a_part_of_the_whole(source, tmp_path):
    whole = convert(source, tmp_path / "whole")
    part = convert(source, tmp_path / "part", train_share=0.5)
    assert 60 <= part["train"] <= 120 and part["dev"] == whole["dev"]  # 90 expected
    lines = {n: (tmp_path / n / "train.tsv").read_text().splitlines() for n in ("whole", "part")}
    assert set(lines["part"]) < set(lines["whole"])
    with pytest.raises(UsageError, match="train share is 0"):
        convert(source, tmp_path / "none", train_share=0.0)


def test_equal_messages_stay_together():
    assert is_dev("one and the same") is is_dev("one and the same")


@pytest.mark.parametrize(
    "text, message",
    [
        ("a\tb\n", "three lines"),
        (HEADER + "sci.space no tab\n", r"train\.tab:4: expected a group"),
        (HEADER + "sci.space\ta\tb\n", r"train\.tab:4: expected a group"),
    ],
)
def test_another_format_is_refused(tmp_path, text, message):
    (tmp_path / "train.tab").write_text(text)
    with pytest.raises(LimbeckError, match=message):
        list(read_messages(tmp_path / "train.tab"))


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(UsageError, match="launch.data newsgroups"):
        list(read_messages(tmp_path / "train.tab"))
