import base64
import binascii

import pytest
from nacl.signing import VerifyKey

from relay.base.errors import ConfigError
from relay.transport.wire.nkeys import UserKey, parse_seed

# The pair that the NATS documentation shows under "NKeys".
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def test_the_documentations_seed_has_the_documentations_public_key() -> None:
    assert parse_seed(f" {SEED}\n").public == PUBLIC


def test_a_nonce_is_answered_with_a_signature_that_the_public_key_checks() -> None:
    signature = parse_seed(SEED).answer("a nonce")
    assert "=" not in signature
    raw = base64.b32decode(PUBLIC + "=" * (-len(PUBLIC) % 8))
    VerifyKey(raw[1:33]).verify(b"a nonce", base64.urlsafe_b64decode(signature + "=="))


def seed_of(prefix: int, owner: int) -> str:
    body = bytes([prefix | owner >> 5, (owner & 31) << 3]) + b"s" * 32
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "complete"),
        ("not base32!", "base32"),
        (SEED[:-1] + "A", "complete"),
        (SEED[:20], "complete"),
        (PUBLIC, "complete"),
        (seed_of(18 << 3, 0), "begins with SU"),
        (seed_of(15 << 3, 20 << 3), "begins with SU"),
    ],
)
def test_what_is_no_users_seed_is_refused_without_showing_it(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_seed(text)
    assert not text or text not in str(caught.value)


def test_a_key_does_not_show_itself() -> None:
    assert "s" * 32 not in repr(UserKey(b"s" * 32))
