"""The templates that only format a piece of their sentence, and what a reader sees of them.

Dropping them tears holes: "the word ;  means", "a road of  and". The table, templates.json of
`prep.languages`, is short on purpose: it holds what stands *inside* running text, knows the names
of the large wikis, and leaves everything else (infoboxes, navigation, citations, maintenance marks)
dropped. Its rows are [what to show, with what, names of the templates]; the functions here are what
can be shown. They return wikitext: links and quotes in it are read later like any others.

What is shown is what stands in the page. Nothing is computed: `{{convert|5|km}}` is "5 km", without
the miles that the wiki adds.
"""

from collections.abc import Callable

from prep.languages import formatting_templates, names_of
from prep.wikitext.arguments import Arguments, parse_arguments
from prep.wikitext.measures import as_of, convert, fraction, value

__all__ = ["Rule", "Rules"]

Rule = Callable[[str], str]
"""What stands between a template's braces -> what is shown."""
_Show = Callable[[Arguments], str]

_MAX_KNOWN = 10_000  # names remembered; a page can call as many templates as it likes


def _argument(*names: int | str) -> _Show:
    """Shows the first of some arguments that is there."""
    return lambda arguments: arguments.first(*names)


def _last() -> _Show:
    return lambda arguments: arguments.positional[-1] if arguments.positional else ""


def _join(separator: str) -> _Show:
    return lambda arguments: separator.join(filter(None, arguments.positional))


def _always(text: str) -> _Show:
    return lambda arguments: text


def _around(before: str, after: str) -> _Show:
    return lambda arguments: f"{before}{arguments.at(1)}{after}" if arguments.at(1) else ""


def _quote(*names: int | str) -> _Show:
    """A paragraph of its own."""
    return lambda arguments: f"\n\n{text}\n\n" if (text := arguments.first(*names)) else ""


def _words(before: str, *numbers: int) -> _Show:
    return lambda arguments: " ".join(filter(None, (before, *map(arguments.at, numbers))))


def _nihongo() -> _Show:
    """`nihongo`: text (script, romanisation)."""

    def show(arguments: Arguments) -> str:
        inside = ", ".join(filter(None, (arguments.at(2), arguments.at(3))))
        text = arguments.at(1)
        return f"{text} ({inside})" if text and inside else text or inside

    return show


def _old_style_date() -> _Show:
    return lambda a: f"{a.at(1)} [O.S. {a.at(3)}] {a.at(2)}"


def _ruby() -> _Show:
    return lambda a: f"{a.at(1)}\uff08{a.at(2)}\uff09" if a.at(2) else a.at(1)


def _century() -> _Show:
    return lambda a: f"{a.at(1)}{a.at(2) or 'e'} si\u00e8cle" if a.at(1) else ""


_SHOWS: dict[str, Callable[..., _Show]] = {
    "argument": _argument,
    "last": _last,
    "join": _join,
    "always": _always,
    "around": _around,
    "quote": _quote,
    "words": _words,
    "nihongo": _nihongo,
    "old style date": _old_style_date,
    "ruby": _ruby,
    "century": _century,
    "convert": lambda: convert,
    "value": lambda: value,
    "fraction": lambda: fraction,
    "as of": lambda: as_of,
}

# What `IPAc-en` says beside its sounds: how they are introduced.
_NO_SOUNDS = frozenset("lang local also icon pron us uk or en-us en-uk ipa".split()) | {""}


def _phonemes(arguments: Arguments) -> str:
    """`IPAc-en`: the sounds, one an argument."""
    sounds = [s for s in arguments.positional if s.lower() not in _NO_SOUNDS and "." not in s]
    return f"/{''.join(sounds)}/".replace("_", " ") if sounds else ""


def _pronunciation(arguments: Arguments) -> str:
    """`IPA-fr` and its like: the sounds in brackets."""
    sounds = arguments.at(1)
    return sounds if not sounds or sounds[0] in "[/" else f"&#91;{sounds}&#93;"


# How the English Wikipedia introduces a word of another language: {{lang-el|...}}, "Greek: ...".
_LANGUAGE_NAMES = {
    "ar": "Arabic", "az": "Azerbaijani", "bn": "Bengali", "bg": "Bulgarian", "ber": "Berber",
    "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "ga": "Irish", "grc": "Ancient Greek", "grc-gre": "Greek", "he": "Hebrew",
    "hi": "Hindi", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic",
    "it": "Italian", "ja": "Japanese", "ka": "Georgian", "ko": "Korean", "la": "Latin",
    "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "ms": "Malay", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "ps": "Pashto", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "rus": "Russian", "sa": "Sanskrit", "sk": "Slovak", "sl": "Slovene",
    "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese", "yi": "Yiddish",
}  # fmt: skip


class Rules:
    """The rules of one language's wikis."""

    def __init__(self, language: str) -> None:
        self._shows = {
            name: _SHOWS[show](*settings)
            for show, settings, names in formatting_templates(language)
            for name in names
            if name not in names_of(language).reference_list
        }
        self._is_english = language.partition("-")[0].lower() in ("en", "simple")
        self._known: dict[str, Rule | None] = {}

    def of(self, start: str) -> Rule | None:
        """Returns the rule of a template whose content starts with `start`; None: nothing is shown.

        Args:
          start: the text after the opening braces up to a bar, a brace or a link, not stripped.
        """
        if start not in self._known:
            if len(self._known) > _MAX_KNOWN:
                self._known.clear()
            self._known[start] = self._find(" ".join(start.replace("_", " ").split()).lower())
        return self._known[start]

    def _find(self, name: str) -> Rule | None:
        if name.startswith(("formatnum:", "lc:", "uc:", "lcfirst:", "ucfirst:")):
            return _after_colon
        show = self._shows.get(name)
        if show is None and name.startswith("lang-"):
            known = _LANGUAGE_NAMES.get(name[5:]) if self._is_english else None
            show = _around(f"{known}: ", "") if known else _argument(1)
        elif show is None and name.startswith("ipac-"):
            show = _phonemes
        elif show is None and name.startswith("ipa-"):
            show = _pronunciation
        if show is None:
            return None
        shown = show
        return lambda content: shown(parse_arguments(content))


def _after_colon(content: str) -> str:
    return content.partition(":")[2].partition("|")[0].strip()
