"""A manifest reads back as written, or not at all."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_runtime.manifest import (
    FileEntry,
    Manifest,
    ManifestUnreadable,
    checksum_file,
    next_id,
    parse_manifest,
    render_manifest,
)

names = st.text(min_size=1, max_size=8)
values = st.integers(-(2**53), 2**53)
manifests = st.builds(
    Manifest,
    artifact=names,
    id=names,
    format_version=st.integers(0, 99),
    creation_time_us=values,
    as_of_us=values,
    inputs=st.dictionaries(names, names, max_size=3),
    counts=st.dictionaries(names, values, max_size=3),
    quality=st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    details=st.dictionaries(names, st.lists(values, max_size=3), max_size=3),
    files=st.dictionaries(names, st.builds(FileEntry, bytes=values, xxh3=names), max_size=3),
)


@given(manifests)
def test_manifest_reads_back_as_written(manifest: Manifest) -> None:
    """Render then parse is identity."""
    assert parse_manifest(render_manifest(manifest)) == manifest


@given(manifests, st.data())
def test_any_flipped_bit_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    """One changed bit anywhere is noticed."""
    content = bytearray(render_manifest(manifest))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << (bit % 8)

    with pytest.raises(ManifestUnreadable):
        parse_manifest(bytes(content))


def test_any_cut_is_refused() -> None:
    """A manifest of which only a beginning was written is not one."""
    content = render_manifest(Manifest("a", "b", 1, 2, 3))

    for length in range(len(content)):
        with pytest.raises(ManifestUnreadable):
            parse_manifest(content[:length])


def test_other_manifest_version_is_named() -> None:
    """A manifest from the future says which version it is."""
    content = render_manifest(Manifest("a", "b", 1, 2, 3))
    newer = content.replace(b'"manifest_version": 1', b'"manifest_version": 2')

    with pytest.raises(ManifestUnreadable, match="version 2, this release reads 1"):
        parse_manifest(newer)


def test_checksum_covers_length_and_content(tmp_path: Path) -> None:
    """The same bytes have the same entry, other bytes another."""
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abc")
    (tmp_path / "c").write_bytes(b"abd")

    assert checksum_file(tmp_path / "a") == checksum_file(tmp_path / "b")
    assert checksum_file(tmp_path / "a") != checksum_file(tmp_path / "c")
    assert checksum_file(tmp_path / "a").bytes == 3


def test_ids_grow_even_if_the_clock_does_not() -> None:
    """An id sorts after all known ones, also when the clock went back or stood still."""
    known: list[str] = []
    for time_us in (1_700_000_000_000_000, 1_700_000_000_000_000, 1_600_000_000_999_999, 5):
        known.append(next_id(time_us, known))

    assert known == sorted(known)
    assert len({known_id.partition("-")[0] for known_id in known}) == 4
