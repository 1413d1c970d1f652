from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import UnauthenticatedError
from relay.base.ids import KeyId, ServerName
from relay.core.matrix.signing import generate
from relay.federation.matrix.authentication import Signed, check, choose, parse_x_matrix, sign

ORIGIN, HERE = ServerName("oma.example:8448"), ServerName("box.example")
KEY = generate(b"k" * 32, "a1")
KEYS = {KEY.key_id: KEY.verify_key}
SIGNATURE = b64encode(b"s" * 64).decode().rstrip("=")
GOOD = f'X-Matrix origin="{ORIGIN}",destination="{HERE}",key="ed25519:a1",sig="{SIGNATURE}"'


def test_what_we_sign_is_read_and_checked() -> None:
    request = Signed("PUT", "/_matrix/federation/v1/send/1?x=%20", {"pdus": [], "n": 5})
    (claim,) = choose([sign(ORIGIN, KEY, HERE, request)], HERE)
    assert (claim.origin, claim.destination, claim.key_id) == (ORIGIN, HERE, KEY.key_id)
    check(claim, KEYS, HERE, request)


@pytest.mark.parametrize(
    "other",
    [
        Signed("POST", "/a", {"n": 1}),
        Signed("PUT", "/a?", {"n": 1}),
        Signed("PUT", "/a", {"n": 2}),
        Signed("PUT", "/a", None),
        Signed("PUT", "/a", {}),
    ],
)
def test_another_request_does_not_pass_with_the_same_signature(other: Signed) -> None:
    (claim,) = choose([sign(ORIGIN, KEY, HERE, Signed("PUT", "/a", {"n": 1}))], HERE)
    with pytest.raises(UnauthenticatedError):
        check(claim, KEYS, HERE, other)


def test_a_key_the_origin_does_not_publish_does_not_pass() -> None:
    request = Signed("GET", "/a")
    (claim,) = choose([sign(ORIGIN, KEY, HERE, request)], HERE)
    with pytest.raises(UnauthenticatedError, match="does not publish"):
        check(claim, {KeyId("ed25519:b"): KEY.verify_key}, HERE, request)


def test_a_body_with_a_float_can_be_authenticated() -> None:
    import json

    content = {"pdus": [], "edus": [{"content": {"last_active_ago": 1.5, "big": 2**60}}]}
    unsigned = {"method": "PUT", "uri": "/a", "origin": ORIGIN, "destination": HERE, "content": content}
    data = json.dumps(unsigned, separators=(",", ":"), sort_keys=True).encode()
    signature = b64encode(KEY.sign(data)).decode()
    (claim,) = choose([f'X-Matrix origin="{ORIGIN}",key="ed25519:a1",sig="{signature}"'], HERE)
    check(claim, KEYS, HERE, Signed("PUT", "/a", content))


@pytest.mark.parametrize(
    "header",
    [
        GOOD,
        GOOD.replace('"', "", 2),
        f"x-matrix   origin={ORIGIN} , key=ed25519:a1,\tsig={SIGNATURE}, destination={HERE}",
        f'X-Matrix ORIGIN="{ORIGIN}",key="ed25519:a1",unknown="a,b=\\"c",signature="{SIGNATURE}=="',
        f'X-Matrix origin="oma\\.example:8448",key="ed25519:a1",sig="{SIGNATURE}"',
    ],
)
def test_the_forms_that_servers_write_are_read(header: str) -> None:
    claim = parse_x_matrix(header)
    assert claim is not None
    assert (claim.origin, claim.key_id, claim.signature) == (ORIGIN, "ed25519:a1", b"s" * 64)
    assert claim.destination in (None, HERE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f'sig="{SIGNATURE}"', ""),
        (f'key="ed25519:a1",sig="{SIGNATURE}"', ""),
        ('key="ed25519:a1"', 'key="rsa:a1"'),
        ('key="ed25519:a1"', 'key="ed25519:a1",key="ed25519:a2"'),
        (SIGNATURE, "AAAA"),
        (SIGNATURE, "!" * 86),
        (str(ORIGIN), "not a name"),
        (str(HERE), ""),
        (f'"{SIGNATURE}"', f'"{SIGNATURE}'),
        ("origin=", "origin"),
    ],
)
def test_a_malformed_header_is_refused(old: str, new: str) -> None:
    with pytest.raises(UnauthenticatedError):
        choose([GOOD.replace(old, new)], HERE)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Bearer abc"],
        [GOOD.replace(str(HERE), "other.example")],
        [GOOD, GOOD.replace(str(ORIGIN), "other.example")],
        [GOOD] * 5,
    ],
)
def test_a_request_that_is_not_one_servers_to_us_is_refused(headers: list[str]) -> None:
    with pytest.raises(UnauthenticatedError):
        choose(headers, HERE)


def test_other_schemes_beside_ours_are_passed_over() -> None:
    assert len(choose(["Bearer abc", GOOD], HERE)) == 1


@given(st.one_of(st.text(), st.text(alphabet='X-Matrix orignkeysgdtu="\\,:= \t').map(lambda text: "X-Matrix " + text)))
def test_any_header_is_read_or_refused(header: str) -> None:
    try:
        claim = parse_x_matrix(header)
    except UnauthenticatedError:
        return
    assert claim is None or len(claim.signature) == 64


VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@given(st.dictionaries(st.sampled_from(["a", "b", "x"]), VALUES), st.data())
def test_quoting_and_order_never_matter(extra: dict[str, str], data: st.DataObject) -> None:
    fields: list[tuple[str, str]] = [
        ("origin", str(ORIGIN)),
        ("destination", str(HERE)),
        ("key", "ed25519:a1"),
        ("sig", SIGNATURE),
        *extra.items(),
    ]
    shuffled: list[tuple[str, str]] = data.draw(st.permutations(fields))

    def quoted(value: str) -> Any:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    claim = parse_x_matrix("X-Matrix " + ",".join(f"{name}={quoted(value)}" for name, value in shuffled))
    assert claim == parse_x_matrix(GOOD)
