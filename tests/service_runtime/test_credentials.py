"""What a call brings along: a sidecar's header is read as Envoy writes it, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_runtime.credentials import Credentials, forwarded_uris, sent_credentials

OPS, EVIL = "spiffe://c/ops", "spiffe://c/evil"


@pytest.mark.parametrize(
    ("header", "uris"),
    [
        (f"By=spiffe://x;Hash=b;URI={OPS}", (OPS,)),
        (f'By=spiffe://x;Subject="CN=x,OU=y;URI={OPS}";URI={EVIL}', (EVIL,)),
        (f'Subject="CN=x\\";URI={OPS}";URI={EVIL}', (EVIL,)),
        (f'Subject="CN=x\\\\";URI={OPS}', (OPS,)),
        (f'Hash=a;URI="{OPS}"', (OPS,)),
        (f"URI={EVIL},By=a;URI={OPS}", (OPS,)),
        (f"URI={EVIL}, By=a;URI={OPS}", (OPS,)),
        (f'URI={OPS},Hash=a;Subject="CN=a,OU=b"', ()),
        (f"URI={OPS};URI={OPS}", (OPS,)),
        (f"URI={EVIL};URI={OPS}", (EVIL, OPS)),
        (f"URI=;DNS=x;URI={OPS}", ("", OPS)),
    ],
)
def test_the_last_element_counts_and_quotes_are_kept_together(
    header: str, uris: tuple[str, ...]
) -> None:
    """What stands inside quotes is a part of its value, whatever it looks like."""
    assert forwarded_uris(header) == uris


@pytest.mark.parametrize(
    "header",
    ["", "x", f"{OPS}", f'Subject="CN=x;URI={OPS}', f'Subject="CN=x"y;URI={OPS}', f"URI={OPS},"],
)
def test_what_cannot_be_read_names_nobody(header: str) -> None:
    """An open quote, or no pairs at all: no identity is guessed."""
    assert forwarded_uris(header) == ()


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_nothing_in_a_subject_becomes_an_identity(subject: str) -> None:
    """However a certificate's subject reads: quoted as Envoy quotes it, it stays one value."""
    quoted = subject.replace("\\", "\\\\").replace('"', '\\"')

    assert forwarded_uris(f'Hash=a;Subject="{quoted}";URI={EVIL}') == (EVIL,)


def test_token_and_header_are_found_in_the_metadata() -> None:
    """Only a bearer's token is one; of a key twice the last counts, as the proxy adds its own."""
    metadata = (
        ("authorization", "Basic abc"),
        ("authorization", "bearer  secret "),
        ("x-forwarded-client-cert", "URI=a"),
        ("x-forwarded-client-cert", "URI=b"),
        ("note-bin", b"\x00"),
    )

    assert sent_credentials(metadata) == Credentials((), "secret", "URI=b")
