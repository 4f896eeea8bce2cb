"""Until when a certificate is good, on the metrics page."""

import math
import shutil
import ssl
import time
from pathlib import Path

import pytest

from service_runtime.certificate_expiry import expiry_of
from tests.service_runtime.certificates import Authority
from tests.service_runtime.echo import make_server

NAME = "echo_tls_certificate_expiry_seconds"


def test_expiry_is_read_to_the_second(tmp_path: Path) -> None:
    """As the certificate says it; one that has ended has 0."""
    authority = Authority(tmp_path)
    good, ended = authority.issue("good", days=7.0), authority.issue("ended", days=-1.0)

    assert abs(expiry_of(good.certificate, good.key) - time.time() - 7 * 86_400) < 300
    assert expiry_of(ended.certificate, ended.key) == 0.0


def test_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    """They must belong together."""
    authority = Authority(tmp_path)

    with pytest.raises(ssl.SSLError):
        expiry_of(authority.issue("a").certificate, authority.issue("b").key)


def test_page_follows_the_files_and_survives_damaged_ones(tmp_path: Path) -> None:
    """A renewed certificate shows at once; a half-written one leaves the page readable."""
    authority = Authority(tmp_path)
    pair, renewed = authority.issue("server", days=2.0), authority.issue("renewed", days=50.0)
    server = make_server(tls_certificate_file=pair.certificate, tls_key_file=pair.key)
    server.start()
    try:
        registry = server.metrics.registry
        first = registry.get_sample_value(NAME)
        shutil.copy(renewed.certificate, pair.certificate)
        half_way = registry.get_sample_value(NAME)
        shutil.copy(renewed.key, pair.key)
        second = registry.get_sample_value(NAME)
    finally:
        server.stop(0)

    assert first is not None
    assert second is not None
    assert half_way is not None
    assert abs(first - time.time() - 2 * 86_400) < 300
    assert abs(second - time.time() - 50 * 86_400) < 300
    assert math.isnan(half_way)
