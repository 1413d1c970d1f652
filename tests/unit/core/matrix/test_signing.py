from typing import Any

import pytest

from relay.base.errors import InvalidInputError
from relay.base.ids import KeyId, ServerName
from relay.core.matrix import signing, unpadded_base64
from relay.core.matrix.building import sign_raw
from relay.core.matrix.room_versions import room_version
from relay.core.matrix.signing import SignatureError
from tests.unit.core.matrix.rooms import Room

# Matrix specification, Appendices, "Cryptographic Test Vectors".
SEED = unpadded_base64.decode("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
KEY = signing.generate(SEED, "1")
DOMAIN = ServerName("domain")
OTHER = signing.generate(b"o" * 32, "2")


def signatures(signature: str) -> dict[str, dict[str, str]]:
    return {"domain": {"ed25519:1": signature}}


def test_the_json_vectors_of_the_specification_come_out() -> None:
    assert signing.sign_json({}, DOMAIN, KEY) == {
        "signatures": signatures(
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"
        )
    }
    assert signing.sign_json({"one": 1, "two": "Two"}, DOMAIN, KEY) == {
        "one": 1,
        "two": "Two",
        "signatures": signatures(
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"
        ),
    }


def test_the_event_vectors_of_the_specification_come_out() -> None:
    minimal: dict[str, Any] = {
        "room_id": "!x:domain",
        "sender": "@a:domain",
        "origin": "domain",
        "origin_server_ts": 1000000,
        "signatures": {},
        "hashes": {},
        "type": "X",
        "content": {},
        "prev_events": [],
        "auth_events": [],
        "depth": 3,
        "unsigned": {"age_ts": 1000000},
    }
    assert sign_raw(minimal, room_version("10"), DOMAIN, KEY) == {
        **minimal,
        "hashes": {"sha256": "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},
        "signatures": signatures(
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"
        ),
    }
    with_content: dict[str, Any] = {
        "content": {"body": "Here is the message content"},
        "event_id": "$0:domain",
        "origin": "domain",
        "origin_server_ts": 1000000,
        "type": "m.room.message",
        "room_id": "!r:domain",
        "sender": "@u:domain",
        "signatures": {},
        "unsigned": {"age_ts": 1000000},
    }
    assert sign_raw(with_content, room_version("10"), DOMAIN, KEY) == {
        **with_content,
        "hashes": {"sha256": "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g"},
        "signatures": signatures(
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA"
        ),
    }


def test_a_signature_verifies_until_anything_but_unsigned_changes() -> None:
    signed = signing.sign_json({"a": [1, {"b": "c"}]}, DOMAIN, KEY)
    keys = {KEY.key_id: KEY.verify_key}
    signing.verify_json(signed, DOMAIN, keys)
    signing.verify_json({**signed, "unsigned": {"x": 1}}, DOMAIN, keys)
    with pytest.raises(SignatureError):
        signing.verify_json({**signed, "a": []}, DOMAIN, keys)
    with pytest.raises(SignatureError):
        signing.verify_json({**signed, "b": 1}, DOMAIN, keys)


def test_two_servers_sign_one_object() -> None:
    signed = signing.sign_json(signing.sign_json({"a": 1}, DOMAIN, KEY), ServerName("b"), OTHER)
    signing.verify_json(signed, DOMAIN, {KEY.key_id: KEY.verify_key})
    signing.verify_json(signed, ServerName("b"), {OTHER.key_id: OTHER.verify_key})


def test_unknown_keys_are_skipped_but_one_known_must_be_right() -> None:
    signed = signing.sign_json(signing.sign_json({"a": 1}, DOMAIN, KEY), DOMAIN, OTHER)
    signing.verify_json(signed, DOMAIN, {KEY.key_id: KEY.verify_key})
    with pytest.raises(SignatureError):
        signing.verify_json(signed, DOMAIN, {})
    with pytest.raises(SignatureError):
        signing.verify_json(signed, DOMAIN, {KEY.key_id: KEY.verify_key, OTHER.key_id: KEY.verify_key})


def test_a_request_with_a_float_in_it_verifies() -> None:
    body = b'{"pdu":{"lat":1.25,"long":1e-05},"pos":12}'
    signature = unpadded_base64.encode(KEY.sign(body))
    read = {"pos": 12, "pdu": {"long": 1e-05, "lat": 1.25}, "signatures": signatures(signature)}
    signing.verify_json(read, DOMAIN, {KEY.key_id: KEY.verify_key})


@pytest.mark.parametrize(
    "bad",
    [
        None,
        1,
        [],
        {},
        {"domain": None},
        {"domain": []},
        {"domain": {"ed25519:1": None}},
        {"domain": {"ed25519:1": "!"}},
        {"domain": {"ed25519:1": "AAAA"}},
        {"domain": {"ed25519:1": "A" * 86}},
        {"domain": {"rsa:1": "A" * 86}},
    ],
)
def test_malformed_signatures_are_signature_errors(bad: object) -> None:
    with pytest.raises(SignatureError):
        signing.verify_json({"a": 1, "signatures": bad}, DOMAIN, {KEY.key_id: KEY.verify_key})


def test_keys_are_read_from_base64_of_32_bytes() -> None:
    text = unpadded_base64.encode(KEY.public)
    assert bytes(signing.parse_verify_key(text)) == KEY.public
    for bad in (None, "", "x", text[:-2], 5):
        with pytest.raises(InvalidInputError):
            signing.parse_verify_key(bad)


def test_a_key_is_made_of_32_bytes_and_a_plain_label_and_shows_no_secret() -> None:
    for seed, label in ((b"", "a"), (b"x" * 32, ""), (b"x" * 32, "a:b"), (b"x" * 32, "ä")):
        with pytest.raises(InvalidInputError):
            signing.generate(seed, label)
    with pytest.raises(InvalidInputError):
        signing.SigningKey(KeyId("rsa:1"), SEED)
    assert repr(KEY) == "SigningKey('ed25519:1')"


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_an_event_needs_its_senders_server_and_who_vouches_for_a_restricted_join(version: str) -> None:
    room = Room(version)
    keys = {room.server: {room.signing_key.key_id: room.signing_key.verify_key}}
    message = room.message("hello")
    assert signing.required_signers(message) == {room.server}
    signing.verify_event(message, keys)
    with pytest.raises(SignatureError):
        signing.verify_event(message, {})
    vouched = room.make(
        "m.room.member",
        {"membership": "join", "join_authorised_via_users_server": "@host:domain"},
        state_key="@guest:elsewhere",
        sender="@guest:elsewhere",
    )
    assert signing.required_signers(vouched) == {"elsewhere", "domain"}
    with pytest.raises(SignatureError):
        signing.verify_event(vouched, {**keys, ServerName("domain"): {KEY.key_id: KEY.verify_key}})
    cosigned = signing.add_signature(vouched, DOMAIN, KEY)
    assert cosigned.event_id == vouched.event_id
    elsewhere = {ServerName("elsewhere"): {room.signing_key.key_id: room.signing_key.verify_key}}
    signing.verify_event(cosigned, {**elsewhere, DOMAIN: {KEY.key_id: KEY.verify_key}})


def test_a_third_party_invite_needs_no_servers_signature() -> None:
    room = Room("11")
    invite = room.make(
        "m.room.member", {"membership": "invite", "third_party_invite": {}}, state_key="@guest:elsewhere"
    )
    assert signing.required_signers(invite) == set()
