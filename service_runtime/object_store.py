"""Files below a URL: the only door to pyarrow's file systems.

An object appears whole or not at all: S3 shows it when its upload is complete, in a folder it is
renamed into place. Every failure of the store is `Unavailable`; what is not there is None.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pyarrow import fs

from service_runtime.errors import Unavailable
from service_runtime.store_url import StoreUrl, check_store_url

CONNECT_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 30.0
"""Silence after which a request is given up; a long file is not one request."""
ATTEMPTS: Final = 3
_PART: Final = ".part"


class ObjectStore:
    """One place for files, named by paths below it with forward slashes; safe for threads."""

    def __init__(
        self, url: str, *, request_seconds: float = REQUEST_SECONDS, attempts: int = ATTEMPTS
    ) -> None:
        """
        Remember where; nothing is asked until it is needed.

        Args:
            url: Of the place.
            request_seconds: Silence after which a request is given up, > 0.
            attempts: How often one is made, >= 1.

        Raises:
            ValueError: The URL is not understood.
        """
        self.url = url
        parsed = check_store_url(url)
        self._is_local = parsed.scheme == "file"
        self._root = parsed.path
        self._files = (
            fs.LocalFileSystem() if self._is_local else _s3(parsed, request_seconds, attempts)
        )

    def read(self, name: str) -> bytes | None:
        """Return a small file, None if it is not there."""
        with self._asked(f"read {name}"):
            try:
                with self._files.open_input_stream(self._at(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Replace a small file: readers see the old one or the new one."""
        with (
            self._asked(f"write {name}"),
            self._placed(name) as target,
            self._files.open_output_stream(target) as stream,
        ):
            stream.write(content)

    def upload(self, path: Path, name: str) -> None:
        """Copy a file of this machine to the store."""
        with self._asked(f"write {name}"), self._placed(name) as target:
            fs.copy_files(str(path), target, fs.LocalFileSystem(), self._files, use_threads=False)

    def download(self, name: str, path: Path) -> bool:
        """Copy a file of the store to this machine; False if it is not there."""
        with self._asked(f"read {name}"):
            try:
                fs.copy_files(
                    self._at(name), str(path), self._files, fs.LocalFileSystem(), use_threads=False
                )
            except FileNotFoundError:
                return False
        return True

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None if it is not there."""
        with self._asked(f"look at {name}"):
            info = self._files.get_file_info(self._at(name))
        return int(info.size) if info.type == fs.FileType.File else None

    def folders(self, name: str = "") -> list[str]:
        """Return the names of the folders directly below a folder, sorted; none if it is absent."""
        selector = fs.FileSelector(self._at(name), allow_not_found=True)
        with self._asked(f"list {name or 'what is there'}"):
            found = self._files.get_file_info(selector)
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing if it is absent."""
        with self._asked(f"remove {name}"):
            info = self._files.get_file_info(self._at(name))
            if info.type == fs.FileType.File:
                self._files.delete_file(info.path)
            elif info.type == fs.FileType.Directory:
                self._files.delete_dir(info.path)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _placed(self, name: str) -> Iterator[str]:
        """Give where to write a file so that it appears under its name when it is whole."""
        target = self._at(name)
        if not self._is_local:
            yield target
            return
        self._files.create_dir(target.rpartition("/")[0], recursive=True)
        aside = f"{target}.{os.getpid()}-{os.urandom(4).hex()}{_PART}"
        try:
            yield aside
            self._files.move(aside, target)
        finally:
            Path(aside).unlink(missing_ok=True)

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Tell a failure of the store as such."""
        try:
            yield
        except OSError as fault:
            raise Unavailable(
                f"{self.url} does not let us {what}: {fault}",
                hint="look at generations_url, the credentials (AWS_ACCESS_KEY_ID and its like, or "
                "the machine's role) and the way to the store; what was fetched goes on serving",
                reason="STORE_UNAVAILABLE",
            ) from fault


def _s3(parsed: StoreUrl, request_seconds: float, attempts: int) -> fs.FileSystem:
    endpoint = urlsplit(parsed.endpoint)
    return fs.S3FileSystem(
        region=parsed.region or None,
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme or None,
        connect_timeout=min(CONNECT_SECONDS, request_seconds),
        request_timeout=request_seconds,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
        # A folder is no object here: only files are written and removed.
        check_directory_existence_before_creation=True,
    )
