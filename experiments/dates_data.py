"""Dates as people write them in five languages, with typing errors, and as ISO 8601; and rules.

Generated, the same for everybody. A text always has one answer: numbers alone stand only where
a convention says which is the month (dots, and slashes after French, Spanish or Italian words:
day first; slashes after an English weekday: month first), two digits of a year mean 1950 to
2049, and a typing error is left out where the word could have become another one's.
"""

import datetime
import difflib
import functools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seqjax import data

FIRST, DAYS = datetime.date(1950, 1, 1), 36_525  # to the end of 2049
TARGET = data.Vocabulary("character", (data.START, data.END, *"-0123456789"))
STEPS = 56  # of the longest text
START, END = (int(number) for number in TARGET.encode(data.START + data.END))
TYPED = 0.35  # part of the texts with words of five letters that have an error: 20 % of all
_SHORTEST = 5  # letters of a word that may have one
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


class Language(NamedTuple):
    """Words by number, and formats.

    There d and dd are a day, D its ordinal, words the same in words; m and mm a month, month and
    mon in letters; Y and y a year; day and wd the day of the week.
    """

    months: str
    short_months: str
    weekdays: str
    short_weekdays: str
    days: str  # 1 to 31; ~ for a space
    formats: str  # by |
    unseen: str  # formats that are not in the training part


LANGUAGES = {
    "en": Language(
        "January February March April May June July August September October November December",
        "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        "Mon Tue Wed Thu Fri Sat Sun",
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
        " thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
        " twenty-first twenty-second twenty-third twenty-fourth twenty-fifth twenty-sixth"
        " twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first",
        "{month} {d}, {Y}|{mon} {d}, {Y}|{day}, {month} {D}, {Y}|{wd}, {d} {mon} {Y}"
        "|the {D} of {month} {Y}|{D} {month}, {Y}|{words} of {month}, {Y}|{wd} {mm}/{dd}/{Y}"
        "|{day} {m}/{d}/{y}|{mon} {D} {y}|{Y}/{mm}/{dd}",
        "{day} the {words} of {month} {Y}|{Y}, {month} {d}|{d}-{mon}-{Y}",
    ),
    "de": Language(
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "Jan Feb Mär Apr Mai Jun Jul Aug Sept Okt Nov Dez",
        "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        "Mo Di Mi Do Fr Sa So",
        "ersten zweiten dritten vierten fünften sechsten siebten achten neunten zehnten elften"
        " zwölften dreizehnten vierzehnten fünfzehnten sechzehnten siebzehnten achtzehnten"
        " neunzehnten zwanzigsten einundzwanzigsten zweiundzwanzigsten dreiundzwanzigsten"
        " vierundzwanzigsten fünfundzwanzigsten sechsundzwanzigsten siebenundzwanzigsten"
        " achtundzwanzigsten neunundzwanzigsten dreißigsten einunddreißigsten",
        "{d}. {month} {Y}|{dd}.{mm}.{Y}|{d}.{m}.{y}|{day}, den {d}. {month} {Y}"
        "|{wd}, {d}. {mon}. {Y}|am {words} {month} {Y}|{d}. {mon} {y}|{day}, {dd}.{mm}.{Y}",
        "am {day}, dem {words} {month} {Y}|den {d}. {mon} {Y}|{wd} {d}.{m}.{Y}",
    ),
    "fr": Language(
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "janv févr mars avr mai juin juil août sept oct nov déc",
        "lundi mardi mercredi jeudi vendredi samedi dimanche",
        "lun mar mer jeu ven sam dim",
        "premier deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze"
        " seize dix-sept dix-huit dix-neuf vingt vingt-et-un vingt-deux vingt-trois vingt-quatre"
        " vingt-cinq vingt-six vingt-sept vingt-huit vingt-neuf trente trente-et-un",
        "{d} {month} {Y}|{day} {D} {month} {Y}|le {D} {month} {Y}|le {dd}/{mm}/{Y}"
        "|{wd}. {d} {mon}. {Y}|le {words} {month} {Y}|{day} {d}/{m}/{y}|{d} {mon} {y}",
        "{day}, le {words} {month} {Y}|le {wd} {d}/{m}/{Y}|{day} {d} {mon}. {y}",
    ),
    "es": Language(
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "ene feb mar abr may jun jul ago sep oct nov dic",
        "lunes martes miércoles jueves viernes sábado domingo",
        "lun mar mié jue vie sáb dom",
        "primero dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince"
        " dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés"
        " veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve treinta"
        " treinta~y~uno",
        "{d} de {month} de {Y}|{day}, {d} de {month} de {Y}|el {d} de {month} de {Y}"
        "|el {dd}/{mm}/{Y}|{wd} {d} {mon} {Y}|{words} de {month} de {Y}|{d} {mon} {y}"
        "|{day} {d}/{m}/{y}",
        "el {day} {words} de {month} de {Y}|{d}-{mon}-{Y}|el {d}/{m}/{y}",
    ),
    "it": Language(
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre"
        " dicembre",
        "gen feb mar apr mag giu lug ago set ott nov dic",
        "lunedì martedì mercoledì giovedì venerdì sabato domenica",
        "lun mar mer gio ven sab dom",
        "primo due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici"
        " quindici sedici diciassette diciotto diciannove venti ventuno ventidue ventitré"
        " ventiquattro venticinque ventisei ventisette ventotto ventinove trenta trentuno",
        "{d} {month} {Y}|{day} {d} {month} {Y}|il {D} {month} {Y}|il {dd}/{mm}/{Y}"
        "|{wd} {d} {mon} {Y}|{words} {month} {Y}|{d} {mon} {y}|{day} {d}/{m}/{y}",
        "{day}, il {words} {month} {Y}|il {wd} {d} {mon} {Y}|il {d}/{m}/{y}",
    ),
}
_KINDS = {"month": "months", "day": "weekdays", "words": "days"}  # that may have typing errors


class Example(NamedTuple):
    """A date.

    Attributes:
        text: as somebody wrote it.
        iso: YYYY-MM-DD.
        typed: whether there is a typing error.
        language: of `LANGUAGES`.
    """

    text: str
    iso: str
    typed: bool
    language: str


class Parts(NamedTuple):
    """No day of one part stands in another; `unseen` has those of `test`."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    unseen: list[Example]  # in formats that the other parts lack


@functools.cache
def parts(train: int, held_out: int, seed: int = 0) -> Parts:
    """So many texts to train with, and so many in each of the other parts.

    Days are drawn without replacement for validation and test, with it from all others for
    training.

    Example:
        >>> found = parts(1000, 100)
        >>> {one.iso for one in found.train} & {one.iso for one in found.test}
        set()
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(DAYS)
    ours = rng.choice(order[2 * held_out :], train)
    validation, test = order[:held_out], order[held_out : 2 * held_out]
    formats = (ours, "formats"), (validation, "formats"), (test, "formats"), (test, "unseen")
    return Parts(*([written(int(day), which, rng) for day in days] for days, which in formats))


def written(day: int, which: str, rng: np.random.Generator) -> Example:
    """A day, counted from `FIRST`, in one of the languages and one of its formats."""
    date = FIRST + datetime.timedelta(day)
    name = str(rng.choice(list(LANGUAGES)))
    language = LANGUAGES[name]
    numbers = date.month - 1, date.weekday(), date.day - 1
    kinds = zip(_KINDS.items(), numbers, strict=True)
    words = {field: _word(getattr(language, kind), number) for (field, kind), number in kinds}
    form = str(rng.choice(getattr(language, which).split("|")))
    typed = False
    there = [f for f, word in words.items() if f"{{{f}}}" in form and len(word) >= _SHORTEST]
    if there and rng.random() < TYPED:
        field = str(rng.choice(there))
        if wrongs := _errors_of(_KINDS[field], words[field].lower()):
            wrong, typed = str(rng.choice(wrongs)), True
            words[field] = wrong.capitalize() if words[field][0].isupper() else wrong
    text = form.format(
        **{"d": date.day, "dd": f"{date.day:02}", "D": _ordinal(name, date.day)},
        **{"m": date.month, "mm": f"{date.month:02}"},
        **{"Y": date.year, "y": f"'{date.year % 100:02}"},
        mon=_word(language.short_months, date.month - 1),
        wd=_word(language.short_weekdays, date.weekday()),
        **words,
    )
    case = (str, str.lower, str.upper)[rng.choice(3, p=[0.7, 0.15, 0.15])]
    return Example(case(text), date.isoformat(), typed, name)


def _word(words: str, number: int) -> str:
    return words.split()[number].replace("~", " ")


def _ordinal(language: str, day: int) -> str:
    if language == "en":
        ending = {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        return f"{day}{'th' if day in (11, 12, 13) else ending}"
    first = {"fr": "1er", "it": "1º"}.get(language, "1")
    return first if day == 1 else str(day)


def errors(word: str) -> Iterator[str]:
    """A word with one typing error: two letters swapped, one left out, doubled, or its neighbour.

    Example:
        >>> sorted(set(errors("no")))
        ['bo', 'mo', 'n', 'ni', 'nno', 'noo', 'np', 'o', 'on']
    """
    for at, letter in enumerate(word):
        if not letter.isalpha():
            continue
        before, after = word[:at], word[at + 1 :]
        if after[:1].isalpha() and after[0] != letter:
            yield before + after[0] + letter + after[1:]
        yield before + after
        yield before + letter + letter + after
        for row in _KEYS:
            place = row.find(letter)
            near = (place - 1, place + 1) if place >= 0 else ()
            yield from (before + row[k] + after for k in near if 0 <= k < len(row))


@functools.cache
def _meanings(kind: str) -> dict[str, set[int]]:
    """What every word stands for, and every word with an error: a number, or a day's order."""
    found: dict[str, set[int]] = {}
    for word, meaning in _numbers(kind).items():
        for form in {word, *errors(word)}:
            found.setdefault(form.replace("~", " "), set()).add(meaning)
    return found


@functools.cache
def _errors_of(kind: str, word: str) -> tuple[str, ...]:
    """A word's errors after which it is still no other's."""
    meanings = _meanings(kind)
    return tuple(wrong for wrong in errors(word) if len(meanings[wrong]) == 1)


def encoded(examples: Sequence[Example], vocabulary: data.Vocabulary) -> dict[str, np.ndarray]:
    """As tokens: source [n, STEPS], lengths [n], target [n, 12] from START to END."""
    source, lengths = data.padded([vocabulary.encode(one.text) for one in examples], steps=STEPS)
    target = np.stack([TARGET.encode(data.START + one.iso + data.END) for one in examples])
    return {"source": source, "lengths": lengths, "target": target}


def rules(text: str, *, repair: bool) -> str:
    """A date by rules that know the languages: the baseline. "" where they find none.

    Args:
        text: a date.
        repair: take the nearest known word for one that is not (`difflib`).

    Example:
        >>> rules("Mittwoch, den 3. März 2021", repair=False)
        '2021-03-03'
        >>> rules("3 Mrach 2021", repair=False), rules("3 Mrach 2021", repair=True)
        ('', '2021-03-03')
    """
    text = text.lower()
    year = re.search(r"\d{4}|'\d\d", text)
    if year is None:
        return ""
    y = int(year[0].strip("'"))
    y += (1900 if y >= 50 else 2000) if year[0][0] == "'" else 0
    text = f"{text[: year.start()]} {text[year.end() :]}"
    numbers = [int(digits) for digits in re.findall(r"\d+", text)]
    text = text.replace("treinta y uno", "treinta~y~uno")
    words = [_nearest(word, repair) for word in re.findall(r"[^\W\d_]+(?:[~-][^\W\d_]+)*", text)]
    named = [_numbers("months")[word] + 1 for word in words if word in _numbers("months")]
    spoken = [_numbers("days")[word] + 1 for word in words if word in _numbers("days")]
    if len(numbers) == 2:  # the day comes last after a year, and after an English weekday
        english = any(_numbers("weekdays").get(word) == 1 for word in words)
        m, d = numbers if year.start() == 0 or english else reversed(numbers)
    elif named and (numbers or spoken):
        m, d = named[-1], (numbers or spoken)[0]
    else:
        return ""
    return f"{y}-{m:02}-{d:02}"


@functools.cache
def _numbers(kind: str) -> dict[str, int]:
    """A kind's words in lower case with what they stand for."""
    found = {}
    for name, one in LANGUAGES.items():
        for words in (getattr(one, kind), getattr(one, f"short_{kind}", "")):
            for number, word in enumerate(words.lower().split()):
                found[word] = int(name == "en") if kind == "weekdays" else number
    return found


@functools.cache
def _nearest(word: str, repair: bool) -> str:
    known = {one for kind in _KINDS.values() for one in _numbers(kind)}
    if word in known or not repair or len(word) < _SHORTEST - 1:
        return word
    return next(iter(difflib.get_close_matches(word, known, 1, 0.7)), word)
