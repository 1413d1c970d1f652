import pytest

from relay.uplink.dns_message import AAAA, ANY, NSEC, PTR, SRV, TXT, A, Name, pack_name
from relay.uplink.zone import Names, Service, make_zone

KIND: Name = (b"_doorstep", b"_tcp", b"local")
ZONE = make_zone(
    Names("box", "Doorstep box"),
    [Service("_doorstep", 443, ("txtvers=1", "server=home.example")), Service("_matrix-fed", 8448)],
    ["192.0.2.2", "fd00::2"],
)
INSTANCE: Name = (b"Doorstep box", *KIND)


def test_a_service_is_found_by_its_kind_and_leads_to_port_texts_and_addresses() -> None:
    (pointer,) = ZONE.answers((b"_DOORSTEP", b"_tcp", b"local"), PTR)
    assert pointer.data == pack_name(INSTANCE)
    assert not pointer.flush
    beside = {record.kind: record for record in ZONE.beside(pointer)}
    assert beside[SRV].data == bytes([0, 0, 0, 0, 1, 187]) + pack_name((b"box", b"local"))
    assert beside[TXT].data == b"\x09txtvers=1\x13server=home.example"
    assert beside[A].data == bytes([192, 0, 2, 2])
    assert beside[AAAA].data[-1] == 2
    assert all(record.flush for record in beside.values())
    assert (beside[SRV].ttl_s, beside[TXT].ttl_s, beside[A].ttl_s, pointer.ttl_s) == (120, 4500, 120, 4500)


def test_all_kinds_are_listed_for_whoever_browses_everything() -> None:
    found = {record.data for record in ZONE.answers((b"_services", b"_dns-sd", b"_udp", b"local"), PTR)}
    assert found == {pack_name(KIND), pack_name((b"_matrix-fed", b"_tcp", b"local"))}


def test_a_service_without_texts_has_an_empty_one() -> None:
    (text,) = ZONE.answers((b"Doorstep box", b"_matrix-fed", b"_tcp", b"local"), TXT)
    assert text.data == b"\0"


def test_what_is_not_there_under_a_name_of_ours_is_denied() -> None:
    (absence,) = ZONE.answers((b"box", b"local"), TXT)
    assert absence.kind == NSEC
    # RFC 4034, section 4.1.2: block 0, four bytes, bits 1 (A) and 28 (AAAA).
    assert absence.data == pack_name((b"box", b"local")) + b"\x00\x04\x40\x00\x00\x08"
    assert ZONE.answers((b"other", b"local"), A) == []
    assert {record.kind for record in ZONE.answers((b"box", b"local"), ANY)} == {A, AAAA}


@pytest.mark.parametrize(("host", "instance"), [("box", "Doorstep box"), ("b" * 63, "ü" * 40)])
def test_names_move_on_and_stay_labels(host: str, instance: str) -> None:
    names = Names(host, instance)
    before = names.host, names.instance
    names.change_host()
    names.change_instance()
    assert names.version == 2
    assert names.host[0].endswith(b"-2")
    assert names.instance.endswith(b" (2)")
    assert before != (names.host, names.instance)
    assert max(len(names.host[0]), len(names.instance)) <= 63
    names.instance.decode()
