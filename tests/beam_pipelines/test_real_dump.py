"""The real dump: 206 pages of English Wikipedia, and the real vocabulary."""

import bz2
import functools
import io
import operator
import re
import time

import numpy as np
import pytest

from beam_pipelines.examples import ExamplesSettings, examples
from beam_pipelines.wikipedia import WikipediaSettings, wikipedia
from limbeck.records.dataset import open_dataset
from limbeck.records.examples import check_examples
from prep.dumps.reading import read_pages, read_range
from prep.dumps.source import look_at


@pytest.fixture(scope="module")
def prepared(real_dump, tmp_path_factory):
    """The documents of the real dump, and how long they took."""
    out = tmp_path_factory.mktemp("real") / "documents"
    started = time.process_time()
    manifest = wikipedia(WikipediaSettings(dump=str(real_dump), out=str(out), workers=1))
    return out, manifest, time.process_time() - started


def test_every_page_is_accounted_for(prepared):
    _, manifest, _ = prepared
    # 99 redirects in the main namespace; the 100th is in namespace 4 and counts there.
    assert manifest.content.accounting == {
        "in": 206,
        "kept": 106,
        "filtered": {"namespace": 1, "redirect": 99},
        "dead_letters": 0,
    }
    assert manifest.content.totals["records"] == 106


def test_text_is_prose(prepared):
    out, _, _ = prepared
    with open_dataset(out, kind="documents") as dataset:
        records = {record["title"]: record["sentences"] for record in dataset.iterate()}
    assert records["Anarchism"][0] == (
        "Anarchism is a political philosophy that advocates self-governed societies based on "
        "voluntary institutions."
    )
    sentences = [sentence for document in records.values() for sentence in document]
    assert 20_000 < len(sentences) < 30_000
    assert 2.7e6 < sum(map(len, sentences)) < 3.0e6
    for markup in ("{{", "}}", "[[", "]]", "<ref", "'''", "{|", "|}", "File:", "Category:", "__"):
        found = [sentence for sentence in sentences if markup in sentence]
        assert len(found) <= 2, (markup, found[:3])


def test_examples_of_the_real_text_fit_the_real_vocabulary(prepared, real_vocab, tmp_path):
    out, _, _ = prepared
    manifests = examples(
        ExamplesSettings(
            documents=str(out),
            vocab=str(real_vocab),
            out=str(tmp_path / "examples"),
            max_seq_length=64,
            max_predictions_per_seq=10,
            dupe_factor=1,
            heldout_fraction=0.06,
        )
    )
    kept = {split: manifest.content.accounting["kept"] for split, manifest in manifests.items()}
    assert sum(kept.values()) == 106 and 1 < kept["heldout"] < 20
    with open_dataset(tmp_path / "examples" / "train") as dataset:
        rows = dataset.read(np.arange(dataset.num_rows))
    check_examples(rows, vocab_size=30_522)
    assert 8_000 < len(rows["key"]) < 14_000
    assert 0.45 < rows["is_random_next"].mean() < 0.65
    masked = rows["num_masked"].sum() / rows["num_tokens"].sum()
    assert 0.14 < masked < 0.16
    unknown = (rows["ids"] == 100).sum() / rows["num_tokens"].sum()
    assert unknown < 0.005


def in_ranges(data, step):
    dump = look_at(io.BytesIO(data), path="dump", size=len(data))
    for begin in range(0, len(data), step):
        end = min(begin + step, len(data))
        yield from read_range(
            io.BytesIO(data), dump, begin=begin, claim=functools.partial(operator.gt, end)
        )


def test_real_pages_do_not_depend_on_ranges_or_packing(real_dump):
    single = real_dump.read_bytes()
    plain = bz2.decompress(single)
    pages = [(page.page_id, page.title, page.text) for page in read_pages(str(real_dump))]
    assert len(pages) == 206
    cuts = [match.start() for match in re.finditer(rb"  <page>", plain)][::10]
    edges = [0, *cuts, plain.rindex(b"</mediawiki>"), len(plain)]
    pairs = zip(edges, edges[1:], strict=False)
    multistream = b"".join(bz2.compress(plain[begin:end]) for begin, end in pairs)
    for data, step in ((single, 60_000), (multistream, 25_000), (plain, 999_999)):
        found = in_ranges(data, step)
        assert [(page.page_id, page.title, page.text) for page in found] == pages


@pytest.mark.slow
def test_real_dump_gives_the_same_id_with_two_workers_and_doubled_bundles(
    prepared, real_dump, tmp_path
):
    _, manifest, _ = prepared
    for name, workers, repeat in (("two", 2, 0), ("doubled", 1, 1)):
        settings = WikipediaSettings(dump=str(real_dump), out=str(tmp_path / name), workers=workers)
        assert wikipedia(settings, bundle_repeat=repeat).id == manifest.id
