"""
Until when a certificate is good, with nothing but the standard library.

Python reads a certificate's dates only of a peer that it verified, so here it is its own peer: a
handshake in memory, with the certificate as its own authority. That shows at once whether
certificate and key belong together.
"""

import ssl
from pathlib import Path

from service_runtime.telemetry import Metrics
from service_runtime.tls import TlsFiles

HANDSHAKE_STEPS_MAX = 8


def expiry_of(certificate: Path, key: Path) -> float:
    """
    When a certificate ends.

    Args:
        certificate: Chain, PEM, our own first.
        key: Its private key, PEM.

    Returns:
        Unix seconds; 0 if it has ended already (or has not begun).

    Raises:
        OSError: A file cannot be read.
        ssl.SSLError: They are no certificate and key, or do not belong together.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(HANDSHAKE_STEPS_MAX):
            if _is_done(ours):
                break
            _is_done(theirs)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in {9, 10}:  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
            return 0.0
        raise
    found = ours.getpeercert()
    assert found is not None
    return ssl.cert_time_to_seconds(str(found["notAfter"]))


def show_expiry(metrics: Metrics, files: TlsFiles) -> None:
    """
    Publish `tls_certificate_expiry_seconds`: when our certificate, as it is on disk, ends.

    0 if it has ended; not a number while the files cannot be used.
    """
    certificate, key = files.certificate, files.key
    assert certificate is not None
    assert key is not None

    def read() -> float:
        try:
            return expiry_of(certificate, key)
        except (OSError, ssl.SSLError):
            return float("nan")  # half-replaced, say; the page must be readable all the same

    told = "Unix time at which our certificate ends."
    metrics.gauge("tls_certificate_expiry_seconds", told).set_function(read)


def _is_done(side: ssl.SSLObject) -> bool:
    """Go on as far as it goes; whether the handshake is over on this side."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
