"""Text to index terms: words without case and accents, stems by language, grams of letters.

    "Crème brûlée, l'été"  (fr)  ->  crem brul l ete
    "東京タワー"                   ->  東京 京タ タワ ワー

Scripts without spaces are cut into overlapping pairs of characters; a query is cut the same way.
One function serves pins, boards and queries, so that what is indexed can be found.

Source: pairs for Chinese, Japanese and Korean as in Lucene's CJKAnalyzer; stemmers by Snowball
(Porter 2001); grams within words as in McNamee and Mayfield 2004.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

DEFAULT_LANGUAGE: Final = "en"
"""Whose stemmer is used where a text's language is not known."""
GRAM_LENGTH: Final = 4
WORD_LENGTH_MAX: Final = 64
"""Longer runs of letters are no words (hashes, encoded data); their head is kept."""
STEMMERS: Final = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nb": "norwegian",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
"""Stemmer by primary language subtag; words of other languages are kept whole."""

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_LETTERS: Final = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "\u0131": "i"}
)
_BREVE = "\u0306"


def fold(text: str) -> str:
    """Return *text* without case and without the accents of Latin, Greek and Cyrillic letters.

    Marks that make another letter in other scripts (Japanese, Devanagari, Thai) are kept, and so is
    the Cyrillic й.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    if text.isascii():
        return text
    kept: list[str] = []
    for letter in unicodedata.normalize("NFD", text):
        is_accent = "\u0300" <= letter <= "\u036f"
        if not is_accent or (letter == _BREVE and kept and kept[-1] == "и"):
            kept.append(letter)
    return unicodedata.normalize("NFC", "".join(kept)).translate(_LETTERS)


def split_words(text: str) -> list[str]:
    """Return the folded words of a text in their order; unspaced scripts as pairs of characters."""
    words: list[str] = []
    for run in _WORD.findall(fold(text)):
        if run.isascii() or not _UNSPACED.search(run):
            words.append(run[:WORD_LENGTH_MAX])
        else:
            words.extend(_pieces(run))
    return words


def stems(text: str, language: str) -> list[str]:
    """Return the stemmed words of a text.

    Args:
        text: In any language.
        language: Tag as in BCP 47, such as `pt-BR`; "" = not known, taken as `DEFAULT_LANGUAGE`.
            Without a stemmer for it words are kept whole.
    """
    name = STEMMERS.get((language or DEFAULT_LANGUAGE).partition("-")[0].lower(), "")
    return [_stem(word, name) for word in split_words(text)]


def grams(text: str) -> list[str]:
    """Return the overlapping runs of `GRAM_LENGTH` letters of each word, its ends marked by `_`.

    Words find their relatives by them (`German`, `Germany`) and their misspellings, in any
    language. A word that is shorter than a gram is one gram.
    """
    return [gram for word in split_words(text) for gram in _grams(word)]


def _pieces(run: str) -> Iterator[str]:
    """Cut a run of several scripts: words of spaced ones whole, the others in pairs."""
    at = 0
    for found in _UNSPACED.finditer(run):
        if found.start() > at:
            yield run[at : found.start()][:WORD_LENGTH_MAX]
        part = found.group()
        yield from (part[i : i + 2] for i in range(max(1, len(part) - 1)))
        at = found.end()
    if at < len(run):
        yield run[at:][:WORD_LENGTH_MAX]


@lru_cache(maxsize=200_000)
def _stem(word: str, stemmer: str) -> str:
    if not stemmer:
        return word
    found = _analyzer(stemmer).analyze(word)
    return found[0] if found else word


@lru_cache(maxsize=200_000)
def _grams(word: str) -> tuple[str, ...]:
    marked = f"_{word}_"
    return tuple(marked[i : i + GRAM_LENGTH] for i in range(max(1, len(marked) - GRAM_LENGTH + 1)))


@lru_cache(maxsize=len(STEMMERS))
def _analyzer(stemmer: str) -> TextAnalyzer:
    return TextAnalyzerBuilder(Tokenizer.raw()).filter(Filter.stemmer(stemmer)).build()
