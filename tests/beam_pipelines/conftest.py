"""A small dump, documents and a vocabulary, all made here, and the commands as a user runs them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from launch.data import data_dir
from limbeck.records.documents import document_row, documents_layout
from limbeck.records.keys import make_key, shard_of
from limbeck.records.writer import DatasetWriter
from limbeck.tokens import SPECIAL_TOKENS
from tests.conftest import run_inside
from tests.s3 import s3_client, s3_server

ARTICLES = {
    "Lighthouse": """{{Short description|Tower with a light}}
[[File:Light.jpg|thumb|A [[tower]] at night]]
A '''lighthouse''' is a [[tower]] that emits light.<ref>{{cite book|title=Lights}}</ref> It helps
ships at sea. Keepers lived in it for months.

== History ==
The first ones were fires on hills. Later they were built of stone. The [[Pharos]] of
[[Alexandria|the old city]] was famous. It stood for a thousand years.
{| class="wikitable"
! Name !! Height
|-
| Pharos || 100 m
|}

== See also ==
* [[Harbour]]
* [[Ship]]s and their crews were saved by it.

[[Category:Towers]]
[[de:Leuchtturm]]
""",
    "Harbour": """A '''harbour''' is a place where ships stop. Walls keep the waves out.

Harbours may be natural or made by people. In a storm many ships come in. The largest ones never
sleep. Cranes lift boxes by day and by night.

== Work ==
Pilots know the way in. They meet each ship outside. Then they steer it through the channel.
""",
    "Bread": """'''Bread''' is made of flour and water ({{lang|la|panis}}). Yeast makes it
rise.<!-- x -->
It is baked in an oven. People have eaten it for thousands of years.

== Kinds ==
* White bread is soft.
* Rye bread is dark and heavy.
** It keeps for weeks.

== Use ==
Bread is eaten with butter. Old bread is good for soup. In some places it is shared at weddings.
""",
    "Chess": """'''Chess''' is a game for two. Each player has sixteen pieces. The aim is to
catch the king.
White moves first. <math>8^2</math> squares make the board. A game may last for hours.

== Pieces ==
The queen is the strongest. The knight jumps. Pawns move one step and never go back.
""",
    "Rain": """'''Rain''' is water that falls from clouds. It feeds rivers and fields. Without it
there would be
deserts everywhere.

It is measured in millimetres. Some towns see rain on three hundred days of a year. Others wait
for years. When it comes there, flowers cover the sand within days.
""",
    "Clock": """A '''clock''' shows the time. The oldest used the sun or water. Mechanical ones
came with towers.
A pendulum made them exact.

== Today ==
Atoms keep the time now. A good clock is wrong by a second in millions of years. Ships once found
their way by clocks. Satellites still do.
""",
    "Salt": """'''Salt''' is found in the sea and in mines. It keeps food from going bad. Roads
were built for it.
Wars were fought about it. Soldiers were paid with it, some say.

Today it is cheap. Most of it goes to factories and roads. A little of it is on every table.
""",
    "Owl": """An '''owl''' is a bird of the night. It hears a mouse under snow. Its feathers make
no sound.
Owls turn their heads almost all the way round.

They nest in holes and barns. The young ones hiss when they are hungry. Many stories call the owl
wise. Others fear its call.
""",
    "Glass": """'''Glass''' is made from sand. Fire melts it. It lets light in and keeps the wind
out.

Windows, bottles and lenses are made of it. Broken glass can be melted again and again. Old
windows
are not thicker below because glass flows. They were simply made so.
""",
    "Train": """A '''train''' runs on rails. The first ones were pulled by horses. Steam came
later and changed
the land. A journey of a week became one of a day.

Modern trains are quiet and fast. Some float above the rail. Night trains are coming back.
""",
    "Paper": """'''Paper''' was made of rags. Now it is made of wood. A sheet is thin and strong.

Books, letters and money are made of it. Many offices wanted to do without it. They print more
than
ever. Used paper becomes new paper five or six times.
""",
    "Bee": """A '''bee''' lives with thousands of others. It dances to show the way to flowers.
Honey is what bees
keep for the winter.

Without bees many plants would bear no fruit. People have kept them since the first farms. A queen
may live for five years. A worker in summer lives for six weeks.
""",
}

# Pages that are no articles, and what becomes of each.
OTHERS = {
    "Pharos": ("<redirect title='Lighthouse'/>", "0", "#REDIRECT [[Lighthouse]]"),  # redirect
    "Ships": ("", "0", "#REDIRECT [[Harbour]]"),  # redirect
    "Talk:Bread": ("", "1", "I like bread."),  # namespace
    "Wikipedia:R": ("<redirect title='X'/>", "4", "#REDIRECT [[X]]"),  # namespace, not redirect
    "Only a table": ("", "0", "{|\n| a\n|}"),  # empty
}


def _page_xml(page_id: int, title: str, text: str, *, ns: str = "0", extra: str = "") -> str:
    return (
        f"<page><title>{escape(title)}</title><ns>{ns}</ns><id>{page_id}</id>{extra}"
        f"<revision><id>1</id><model>wikitext</model><text>{escape(text)}</text></revision></page>"
    )


def _export_xml(pages: Sequence[str]) -> str:
    return (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" '
        'xml:lang="en">\n<siteinfo><dbname>testwiki</dbname><namespaces>'
        '<namespace key="6">File</namespace><namespace key="14">Category</namespace>'
        "</namespaces></siteinfo>\n" + "\n".join(pages) + "\n</mediawiki>\n"
    )


@pytest.fixture(scope="session")
def page_xml() -> Callable[..., str]:
    return _page_xml


@pytest.fixture(scope="session")
def export_xml() -> Callable[[Sequence[str]], str]:
    return _export_xml


@pytest.fixture(scope="session")
def articles() -> dict[str, str]:
    return ARTICLES


@pytest.fixture
def small_dump(tmp_path: Path) -> Path:
    """A dump of 12 articles and 7 pages of every other kind."""
    pages = [_page_xml(n * 7 + 1, title, text) for n, (title, text) in enumerate(ARTICLES.items())]
    for n, (title, (extra, ns, text)) in enumerate(OTHERS.items()):
        pages.insert(2 * n, _page_xml(1000 + n, title, text, ns=ns, extra=extra))
    no_text = "<revision><id>1</id></revision>"
    pages.append(f"<page><title>Gone</title><ns>0</ns><id>2000</id>{no_text}</page>")
    pages.append(_page_xml(2001, "Code.js", "x()").replace("wikitext", "javascript"))
    path = tmp_path / "small.xml"
    path.write_text(_export_xml(pages), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_accounting() -> dict[str, Any]:
    """What becomes of the pages of `small_dump`."""
    return {
        "in": len(ARTICLES) + len(OTHERS) + 2,
        "kept": len(ARTICLES),
        "filtered": {"empty": 1, "missing_text": 1, "model": 1, "namespace": 2, "redirect": 2},
        "dead_letters": 0,
    }


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    """A vocabulary of letters and of the words of the articles."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    words = sorted({w for text in ARTICLES.values() for w in text.lower().split() if w.isalpha()})
    tokens = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*tokens, *(w for w in words if len(w) > 1)]) + "\n")
    return path


def _write_documents(directory: Path, *, num_documents: int = 12, num_shards: int = 3) -> str:
    writer = DatasetWriter(
        str(directory),
        name="documents",
        kind="documents",
        layout=documents_layout(),
        num_shards=num_shards,
        settings={"made": "by a test"},
    )
    writer.open()
    rows: list[dict[str, Any]] = []
    texts = list(ARTICLES.values())
    for number in range(num_documents):
        lines = texts[number % len(texts)].splitlines()
        sentences = [line for line in lines if line[:1].isupper()] + [f"This is page {number}."]
        key = make_key(corpus="test", page=number)
        rows.append(document_row(key=key, title=f"Page {number}", sentences=sentences))
    for shard in range(num_shards):
        writer.write_shard(shard, [r for r in rows if shard_of(r["key"], num_shards) == shard])
    return writer.finish().id


@pytest.fixture(scope="session")
def write_documents() -> Callable[..., str]:
    """Writes a documents dataset without anybody else's library; returns its id."""
    return _write_documents


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    _write_documents(tmp_path / "documents")
    return tmp_path / "documents"


def _tree(directory: Path) -> dict[str, bytes]:
    files = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name == "manifest.json":
                value = json.loads(data)
                data = json.dumps([value["content"], value["id"]], sort_keys=True).encode()
            files[str(path.relative_to(directory))] = data
    return files


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Reads all files below a directory; of manifests what is the same for the same bytes."""
    return _tree


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


def _run(module: str, *arguments: object, timeout: float = 200, **environment: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="session")
def run() -> Callable[..., Done]:
    """Runs `python -m MODULE ARGUMENTS` as a user would; keywords are its environment."""
    return _run


@pytest.fixture(scope="session")
def inside() -> Callable[..., Done]:
    """Runs the same in this process, which has imported Beam already: for what runs no pipeline."""
    from beam_pipelines.command import run_module

    def run(module: str, *arguments: object) -> Done:
        done = run_inside(lambda: run_module(module), module, *arguments)
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


@pytest.fixture(scope="session")
def real_dump() -> Path:
    path = data_dir() / "enwiki-sample.xml.bz2"
    if not path.exists():
        pytest.skip("run `make setup` to fetch the real dump")
    return path


@pytest.fixture(scope="session")
def real_vocab() -> Path:
    path = data_dir() / "all-minilm-l6-v2"
    if not (path / "vocab.txt").exists():
        pytest.skip("run `make setup` to fetch the real vocabulary")
    return path


@pytest.fixture(scope="session")
def s3_address():
    """The address of a local server that speaks S3."""
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(s3_address):
    """An empty bucket; returns its URL."""
    with s3_client(s3_address) as client:
        name = "limbeck-test"
        client.create_bucket(Bucket=name)
        yield f"s3://{name}"
        for found in client.list_objects_v2(Bucket=name).get("Contents", []):
            client.delete_object(Bucket=name, Key=found["Key"])
        client.delete_bucket(Bucket=name)
