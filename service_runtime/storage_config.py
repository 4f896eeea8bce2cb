"""Settings of where built artifacts are: in the data root, or in an object store behind it."""

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from service_runtime.store_url import check_store_url


class StorageConfig(BaseSettings):
    """Settings of an object store, which every process has; ServiceConfig derives from it."""

    generations_url: str = Field(
        default="",
        max_length=1024,
        description="Where generations are published to and followed from: s3://bucket/folder or "
        "file:///folder; the data root keeps copies. Empty: the data root alone.",
    )
    generations_fetch_seconds: float = Field(
        default=15.0,
        gt=0,
        le=3600,
        description="How often to look there for a new generation: one small read an artifact.",
    )

    def fetch_seconds(self) -> float:
        """Seconds between two looks at the object store; 0 = there is none."""
        return self.generations_fetch_seconds if self.generations_url else 0.0

    @field_validator("generations_url")
    @classmethod
    def _is_known(cls, url: str) -> str:
        if url:
            check_store_url(url)
        return url
