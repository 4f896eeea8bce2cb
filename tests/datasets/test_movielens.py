"""MovieLens 100K is fetched, checked and mapped as the README says; the rows here are made up."""

import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from datasets import movielens
from datasets.movielens import Film, MovieLensError, Rating

TODAY = date(2026, 3, 10)
FILMS = [
    Film(1, "Long Ride, The", 1995, ("Action", "Western", "Drama")),
    Film(2, "Rain at Noon", 1941, ("Drama", "Romance")),
    Film(3, "Rain at Noon", 1941, ("Drama", "Romance")),
    Film(4, "unkonwn", None, ()),
]
NOON = int(datetime(1998, 4, 22, 12, tzinfo=UTC).timestamp())


def test_five_stars_are_two_saves_four_are_one_three_a_look_and_two_a_hide() -> None:
    """The mapping of stars, one film each."""
    films = [Film(n, f"Film {n}", 1990, ("Comedy",)) for n in range(2, 6)]
    ratings = [Rating(7, stars, stars, NOON) for stars in range(2, 6)]

    world = movielens.to_data_set(films, ratings, today=TODAY)

    saved = [(save.pin_id, save.board_id) for save in world.saves]
    assert saved == [("m4", "u7-comedy"), ("m5", "u7-comedy"), ("m5", "u7-favourites")]
    assert [(action.pin_id, action.action_type) for action in world.actions] == [
        ("m2", "hide"),
        ("m3", "close_up"),
    ]


def test_the_newest_rating_is_yesterday_at_the_same_hour() -> None:
    """Times move by whole days only."""
    ratings = [Rating(7, 1, 3, NOON), Rating(7, 2, 3, NOON - 3 * 86_400 - 5)]

    actions = movielens.to_data_set(FILMS, ratings, today=TODAY).actions

    newest = datetime.fromtimestamp(actions[-1].action_time_us / 1e6, tz=UTC)
    assert newest == datetime(2026, 3, 9, 12, tzinfo=UTC)
    gap_us = actions[-1].action_time_us - actions[0].action_time_us
    assert gap_us == (3 * 86_400 + 5) * 1_000_000


def test_a_film_listed_twice_is_one_pin_and_its_newest_rating_counts() -> None:
    """Rated under both ids: one action, by the later rating."""
    ratings = [Rating(7, 3, 1, NOON + 60), Rating(7, 2, 4, NOON)]

    world = movielens.to_data_set(FILMS, ratings, today=TODAY)

    assert [pin.pin_id for pin in world.pins] == ["m1", "m2", "m4"]
    assert not world.saves
    assert [(action.pin_id, action.action_type) for action in world.actions] == [("m2", "hide")]


def test_titles_read_as_people_write_them() -> None:
    """Articles to the front, the year behind, no misspelt unknown."""
    shown = [
        movielens.readable_title(film)
        for film in (
            FILMS[0],
            Film(9, "Postino, Il", 1994, ()),
            Film(9, "Enfer, L' (Hell)", 1994, ()),
            Film(9, "To Wong Foo, Thanks for Everything!", 1995, ()),
            FILMS[3],
        )
    ]

    assert shown == [
        "The Long Ride (1995)",
        "Il Postino (1994)",
        "L'Enfer (Hell) (1994)",
        "To Wong Foo, Thanks for Everything! (1995)",
        "Untitled film 4",
    ]


def test_a_board_is_the_most_telling_genre_or_classics() -> None:
    """A Western is a Western; old films are classics, but old cartoons are cartoons."""
    assert movielens.board_title(FILMS[0]) == "Western"
    assert movielens.board_title(FILMS[1]) == "Classics"
    assert movielens.board_title(Film(9, "Mouse", 1940, ("Animation", "Comedy"))) == "Animation"
    assert movielens.board_title(FILMS[3]) == "Other"


def test_ids_are_unique_and_every_action_names_a_pin() -> None:
    """No two saves share an id, no action points into the void."""
    ratings = [Rating(u, f, s, NOON + u) for u in range(1, 9) for f, s in ((1, 5), (2, 4), (4, 2))]

    world = movielens.to_data_set(FILMS, ratings, today=TODAY)

    known = {pin.pin_id for pin in world.pins}
    ids = [save.save_id for save in world.saves] + [a.action_id for a in world.actions]
    assert len(ids) == len(set(ids)) == 8 * 4
    assert {save.pin_id for save in world.saves} | {a.pin_id for a in world.actions} <= known


def test_archive_of_grouplens_reads_as_the_same_values(tmp_path: Path) -> None:
    """The original pipe-separated Latin-1 files give films and ratings too."""
    flags = "|".join(
        "1" if genre in {"Drama", "War"} else "0" for genre in movielens.GENRES_OF_ARCHIVE
    )
    line = f"5|Été, L' (1990)|01-Jan-1990||http://example.org|{flags}\n"
    (tmp_path / "u.item").write_text(line, encoding="latin-1")
    (tmp_path / "u.data").write_text(f"7\t5\t4\t{NOON}\n", encoding="ascii")

    films, ratings = movielens.read_archive(tmp_path)

    assert films == [Film(5, "Été, L'", 1990, ("Drama", "War"))]
    assert ratings == [Rating(7, 5, 4, NOON)]


def test_archive_without_ratings_is_refused_by_name(tmp_path: Path) -> None:
    """The message names the missing file."""
    with pytest.raises(MovieLensError, match=r"u\.item"):
        movielens.read_archive(tmp_path)


def test_fetch_refuses_a_wheel_whose_files_differ(tmp_path: Path) -> None:
    """A file that is not byte for byte the known one never reaches the cache."""

    def download(folder: Path) -> Path:
        wheel = folder / "recbole-1.2.1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in movielens.FILE_SHA256:
                archive.writestr(f"{movielens.WHEEL_MEMBER_FOLDER}/{name}", "something else")
        return wheel

    with pytest.raises(MovieLensError, match="SHA-256"):
        movielens.fetch(tmp_path, download=download)

    assert not movielens.is_cached(tmp_path)
    assert not list(tmp_path.iterdir())


def test_fetch_says_what_failed_when_the_wheel_is_not_what_it_was(tmp_path: Path) -> None:
    """A wheel without the data names the member that is missing."""

    def download(folder: Path) -> Path:
        wheel = folder / "recbole-1.2.1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("recbole/__init__.py", "")
        return wheel

    with pytest.raises(MovieLensError, match=r"ml-100k\.inter"):
        movielens.fetch(tmp_path, download=download)


def test_the_real_data_maps_to_the_documented_counts() -> None:
    """With the cache of an earlier demo at hand: 1,664 pins, 943 people, no loss but repeats."""
    cache = Path.home() / ".cache" / "corkboard" / "movielens"
    if not movielens.is_cached(cache):
        pytest.skip("MovieLens 100K is not in the cache (run `corkboard demo` once)")

    world = movielens.load(cache=cache, today=TODAY)

    people = {save.user_id for save in world.saves} | {a.user_id for a in world.actions}
    assert len(world.pins) == 1664
    assert len(people) == 943
    assert len({save.pin_id + save.user_id for save in world.saves}) + len(world.actions) > 99_000
