import json

import pytest

import prep.languages
from prep.languages import formatting_templates, names_of
from prep.wikitext.templates import Rules


@pytest.mark.parametrize(
    ("language", "file", "category", "redirect"),
    [
        ("en", "image", "category", "#redirect"),
        ("de", "datei", "kategorie", "#weiterleitung"),
        ("de", "bild", "kategorie", "#redirect"),  # an alias; the English word always works
        ("fr", "fichier", "cat\u00e9gorie", "#redirection"),
        ("pt", "arquivo", "categoria", "#redirecionamento"),  # the Brazilian name too
        ("ru", "\u0444\u0430\u0439\u043b", "\u043a\u0430\u0442\u0435\u0433\u043e\u0440\u0438\u044f",
         "#\u043f\u0435\u0440\u0435\u043d\u0430\u043f\u0440\u0430\u0432\u043b\u0435\u043d\u0438\u0435"),
        ("bg", "\u043a\u0430\u0440\u0442\u0438\u043d\u043a\u0430",
         "\u043a\u0430\u0442\u0435\u0433\u043e\u0440\u0438\u044f", "#\u0432\u0438\u0436"),
        ("ja", "\u753b\u50cf", "\u30ab\u30c6\u30b4\u30ea", "#\u8ee2\u9001"),
        ("zh", "\u6587\u4ef6", "\u5206\u7c7b", "#\u91cd\u5b9a\u5411"),
        ("zh", "\u6a94\u6848", "\u5206\u985e", "#\u91cd\u65b0\u5c0e\u5411"),  # both scripts
        ("ar", "\u0645\u0644\u0641", "\u062a\u0635\u0646\u064a\u0641",
         "#\u062a\u062d\u0648\u064a\u0644"),
        ("bar", "datei", "kategorie", "#weiterleitung"),  # Bavarian falls back to German
        ("DE", "datei", "kategorie", "#weiterleitung"),
        ("de-x-own", "datei", "kategorie", "#weiterleitung"),  # an unknown part is left out
        ("simple", "file", "category", "#redirect"),
        ("", "file", "category", "#redirect"),
    ],
)  # fmt: skip
def test_names_of_a_language_are_there(language, file, category, redirect):
    names = names_of(language)
    assert file in names.file
    assert category in names.category
    assert redirect in names.redirect


def test_table_is_lower_case_sorted_and_resolves():
    table = prep.languages._table()
    assert len(table) > 300 and list(table) == sorted(table)
    for code, entry in table.items():
        assert entry.keys() <= {"file", "category", "redirect", "switch", "reference_list", "also"}
        assert all(other in table for other in entry.get("also", ())), code
        for kind in entry.keys() - {"also"}:
            assert entry[kind] == sorted(set(entry[kind])), (code, kind)
            assert all(w == " ".join(w.split()) for w in entry[kind]), (code, kind)
        names_of(code)
    json.dumps(table)


def test_every_formatting_template_can_be_shown():
    languages = ["xx", *prep.languages._read("templates.json")]
    for language in languages:
        rules = Rules(language)
        for _, _, names in formatting_templates(language):
            for name in names:
                if name in names_of(language).reference_list:
                    continue
                rule = rules.of(f" {name.capitalize()} ")
                assert rule is not None, (language, name)
                for arguments in ("", "|", "|a", "|a|b", "|a|b|c|d=e", "|1=", "|=", "|a=b|c"):
                    assert isinstance(rule(name + arguments), str)
