"""`extract inspect`: what it says, the page it writes, and what it refuses."""

import re
import shutil

import pytest

from extract.inspection import find_families, open_families
from extract.page import InspectSettings, inspect_labels
from extract.run import extract
from extract.settings import ExtractSettings
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import FinalSignal, HiddenSignal, SparseSignal

FAMILIES = {
    "final": FinalSignal(codec="float32"),
    "grid": SparseSignal(k=5),
    "drawn": SparseSignal(k=1, threshold=0.05, sample=True),
    "some": SparseSignal(k=3, records=0.4, positions="all"),
    "low": HiddenSignal(layer=1, codec="int8"),
    "high": HiddenSignal(layer=2, positions="masked"),
}


def label(examples_dir, out, teacher, families):
    extract(
        ExtractSettings(
            examples=str(examples_dir),
            teacher="numpy",
            out=str(out),
            families=families,
            batch_tokens=128,
            recheck_batches=0,
        ),
        teacher=teacher,
        say=lambda line: None,
    )


@pytest.fixture(scope="module")
def out(examples_dir, numpy_teacher, tmp_path_factory):
    directory = tmp_path_factory.mktemp("labels")
    label(examples_dir, directory, numpy_teacher(), FAMILIES)
    return directory


def inspect(directory, **changes):
    """Lines that were said, and the page's HTML ('' for none)."""
    lines = []
    path = inspect_labels(InspectSettings(directory=str(directory), **changes), say=lines.append)
    if not path:
        return lines, ""
    with open(path, encoding="ascii") as file:
        return lines, file.read()


def headings(html):
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", html)


def test_a_directory_of_families_gives_one_page_beside_them(out, teacher_dir):
    lines, html = inspect(out, tokenizer=teacher_dir)
    assert lines[-1] == f"page {out / 'inspect.html'}"
    assert headings(html) == [
        "Bytes by signal",
        "Distributions",
        "States",
        "Quantisation error",
        "Records",
    ]
    for title in (
        "Entropy of the teacher",
        "Mass held by the k largest",
        "Ids needed for 99% of the mass",
        "by place in the record (final)",
        "by frequency of the true token (final)",
        "Agreement with the hard labels",
        "Norms of stored states",
    ):
        assert title in html
    # Only the layers at one kind of positions make a line; low is at all, high at masked tokens.
    assert "Norm of the hidden states by layer" in html
    for name in FAMILIES:
        assert f'<th scope="row">{name}</th>' in html
        assert any(line.startswith(f"family {name} (") for line in lines)
    assert re.search(r"<mark>1: w\d+", html)  # words, by the tokenizer that was given
    assert [path.name for path in out.iterdir() if path.is_file()] == ["inspect.html"]
    (out / "inspect.html").unlink()


def test_one_family_gives_a_page_beside_its_directory(out):
    lines, html = inspect(out / "low")
    assert lines[-1] == f"page {out / 'inspect-low.html'}"
    assert headings(html) == ["Bytes by signal", "States", "Quantisation error", "Records"]
    (out / "inspect-low.html").unlink()


def test_the_page_goes_where_it_is_asked_for(out, tmp_path):
    _, html = inspect(out / "grid", html=str(tmp_path / "page.html"))
    assert "at most" in html and "Labels in grid" in html  # entropy between bounds
    lines, html = inspect(out / "grid", html="none")
    assert not html and not any(line.startswith("page") for line in lines)
    assert any(line.startswith("mass outside the kept ids") for line in lines)


def test_equal_labels_give_equal_pages(out, tmp_path):
    pages = [inspect(out, html=str(tmp_path / f"{n}.html"))[1] for n in "ab"]
    assert pages[0] == pages[1]


def test_ids_stand_for_words_without_a_tokenizer(out, tmp_path):
    _, html = inspect(out / "grid", html=str(tmp_path / "page.html"))
    assert re.search(r"<mark>1: #\d+", html)


def test_labels_without_their_examples_have_a_page_without_text(
    make_examples, numpy_teacher, tmp_path
):
    examples = make_examples(tmp_path / "examples", num_rows=20, seed=9)
    label(examples, tmp_path / "out", numpy_teacher(), {"grid": FAMILIES["grid"]})
    shutil.move(examples, tmp_path / "moved")
    _, html = inspect(tmp_path / "out")
    assert "give --examples to see records as text" in html and "<mark>" not in html
    _, html = inspect(tmp_path / "out", examples=str(tmp_path / "moved"))
    assert "<mark>" in html


def test_labels_of_no_position_have_a_page(make_examples, numpy_teacher, tmp_path):
    examples = make_examples(tmp_path / "examples", num_rows=4, seed=1)
    families = {"none": SparseSignal(k=2, records=1e-9), "states": HiddenSignal(layer=1)}
    label(examples, tmp_path / "out", numpy_teacher(), families)
    lines, html = inspect(tmp_path / "out")
    assert "no labelled positions in the first records" in lines
    assert headings(html) == ["Bytes by signal", "States", "Quantisation error", "Records"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"html": "{out}/grid/page.html"}, "would lie inside a dataset"),
        ({"html": "{out}/nowhere/page.html"}, "no directory"),
        ({"html": "{out}"}, "is a directory; name a file"),
        ({"examples": "{out}/grid"}, "holds labels; expected examples"),
        ({"sample": 0}, "--sample must be at least 1, got 0"),
        ({"rows": 0}, "--rows must be at least 1, got 0"),
        ({"directory": "{out}/nothing"}, "no such directory"),
    ],
)
def test_what_cannot_be_is_refused(out, changes, message):
    filled = {n: v.format(out=out) if isinstance(v, str) else v for n, v in changes.items()}
    with pytest.raises(UsageError, match=message):
        inspect_labels(InspectSettings(**{"directory": str(out), **filled}))
    assert not list(out.glob("*.html"))


def test_unfinished_families_are_named(out, tmp_path):
    shutil.copytree(out / "grid", tmp_path / "grid")
    (tmp_path / "grid" / "manifest.json").unlink()
    with pytest.raises(UsageError, match="no label family; not finished: grid"):
        find_families(str(tmp_path))


def test_families_of_two_examples_are_not_shown_together(
    out, make_examples, numpy_teacher, tmp_path
):
    other = make_examples(tmp_path / "other", num_rows=20, seed=7)
    label(other, tmp_path / "out", numpy_teacher(), {"grid": FAMILIES["grid"]})
    shutil.copytree(out / "high", tmp_path / "out" / "high")
    with (
        pytest.raises(UsageError, match="families of different examples"),
        open_families(str(tmp_path / "out")),
    ):
        pass


def test_a_damaged_label_is_named_and_no_page_is_written(out, tmp_path):
    shutil.copytree(out / "grid", tmp_path / "grid")
    for path in (tmp_path / "grid").glob("*.tfrecord"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(LimbeckError, match=r"grid-0000\d-of-00003\.tfrecord"):
        inspect(tmp_path / "grid")
    assert not list(tmp_path.glob("*.html"))
