"""One stack of three real servers for all tests that do not break it."""

from collections.abc import Iterator

import pytest

from corkboard import Client
from corkboard.stack import Stack
from tests.integration.world import copy_of_root, make_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The services on the tiny world.  Tests use users of their own where they write."""
    with make_stack(copy_of_root(tmp_path_factory.mktemp("stack"))) as stack:
        yield stack


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    """A client of the shared stack."""
    with stack.client() as client:
        yield client
