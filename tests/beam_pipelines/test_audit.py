from beam_pipelines.audit import AuditSettings, audit, main
from limbeck.records.documents import documents_layout
from limbeck.records.keys import make_key
from limbeck.records.writer import DatasetWriter
from prep.document import Document, Heading


def write(directory, pages):
    writer = DatasetWriter(
        str(directory),
        name="documents",
        kind="documents",
        layout=documents_layout(),
        num_shards=1,
        settings={},
    )
    writer.open()
    rows = [
        document.to_row(key=make_key(corpus="c", page=n), title=title)
        for n, (title, document) in enumerate(pages)
    ]
    writer.write_shard(0, rows)
    writer.finish()


def test_documents_are_looked_through_and_ranked(tmp_path, capsys):
    heading = Heading(text="A | B", level=2, sentence=0)
    pages = [
        ("Clean", Document.of_paragraphs([["All is well."]])),
        ("One", Document.of_paragraphs([["A {{ b.", "C."]])),
        ("", Document.of_paragraphs([["D | e."]], headings=[heading])),
        ("Three", Document.of_paragraphs([["F | g."]])),
    ]
    write(tmp_path / "documents", pages)
    found = audit(AuditSettings(documents=str(tmp_path / "documents")))
    assert (found.pages, found.affected) == (4, 3)
    assert [(f.name, f.pages, f.places) for f in found.findings] == [
        ("pipe", 2, 3),
        ("braces", 1, 1),
    ]
    main(["--documents", str(tmp_path / "documents")])
    out = capsys.readouterr().out
    assert out.startswith("3 of 4 documents (75.0 %) have something that looks like markup")
    assert "page 2: " in out and "One: ...A {{ b. C...." in out
