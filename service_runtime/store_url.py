"""URLs of object stores: what of them is understood, and what must not stand in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

SCHEMES: Final = ("s3", "file")
OPTIONS: Final = ("endpoint", "region")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A place for files.

    Attributes:
        scheme: One of `SCHEMES`.
        path: `bucket/folder` or an absolute folder; no slash at its end.
        endpoint: Address of an S3 server that is not Amazon's, http(s)://host:port; "" = Amazon's.
        region: Of an S3 server; "" = the environment's.
    """

    scheme: str
    path: str
    endpoint: str = ""
    region: str = ""


def check_store_url(url: str) -> StoreUrl:
    """Read a URL.

    Raises:
        ValueError: It is not understood, or carries a secret; says which part.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"its scheme is {parts.scheme!r}, understood are s3:// and file://")
    if "@" in parts.netloc:
        raise ValueError("a key must not stand in it: URLs are logged; set AWS_ACCESS_KEY_ID and …")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.fragment or (unknown := sorted(set(options) - set(OPTIONS))):
        wrong = f"#{parts.fragment}" if parts.fragment else unknown[0]
        raise ValueError(f"{wrong} is not understood; options are {', '.join(OPTIONS)}")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.strip("/") or options:
            raise ValueError("a folder is written file:///absolute/path, without options")
        return StoreUrl("file", parts.path.rstrip("/"))
    if not parts.netloc or ".." in parts.path.split("/"):
        raise ValueError("a bucket is written s3://bucket/folder")
    endpoint = options.get("endpoint", "")
    if endpoint and urlsplit(endpoint).scheme not in {"http", "https"}:
        raise ValueError(f"endpoint {endpoint!r} must be http://host:port or https://host:port")
    path = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
    return StoreUrl("s3", path, endpoint, options.get("region", ""))
