import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.cli.redaction import Redactor, is_everybodys


@pytest.mark.parametrize(
    "private",
    [
        "@anna:home.example",
        "#kitchen:home.example",
        "!opaque:home.example",
        "$" + "aB3" * 14 + "x",
        "mxc://home.example/AbCd",
        "anna@example.org",
        "https://user:pass@home.example:8443/token/abc?x=1",
        "matrix.far-away.example",
        "192.168.17.4",
        "2001:db8::17",
        "[2001:db8::17]:8448",
        "aa:bb:cc:dd:ee:ff",
        "enxaabbcc112233",
        "password: hunter2",
        "'what somebody typed'",
        '"what somebody typed"',
        "syt_YW5uYQ_abcdefgHIJK_3fZ1x",
        "dGhpcyBpcyBhIHNlY3JldA==",
        "ValueError: anything at all",
        "relay.base.errors.RelayError: anything at all",
        "Gemütlich",
        "Bearer abcdef",
        "relay.example",
        "/home/anna/root.key",
        "box.anna",
        "store.annahouse",
        "app.home.example",
        "hA7sK29dkQpz",
    ],
)
def test_what_looks_private_is_replaced_wherever_it_stands(private: str) -> None:
    words = [word for word in private.replace("@", " ").replace("'", "").split() if len(word) > 2]
    shown = Redactor().text(f"it said {private} and more")
    kept = {"Bearer", "password:", "ValueError:", "relay.base.errors.RelayError:"}
    assert not [word for word in words if word not in kept and word in shown]
    assert shown.startswith("it said ")


@pytest.mark.parametrize(
    "words",
    [
        "fault: index.db is missing, and the journal begins after commit 2",
        "storage.index_lost app.opened relay.toml limits.free_mib relay-console@ttyS0.service",
        "ready client=http://127.0.0.1:8008 federation=https://[::]:8448",
        "next: relay backup restore FILE --state DIR --index-only",
        "/media/stick/root.key is not here; 0.1.0 at 12:30:05, 3.11.7, 43+deb13-arm64",
        "the owner's key and the box's name",
        "Certificates and Authentication, dns.key_file, network.unavailable, relay.app.running, 2026-11-23T22:00:01Z",
        "profile: raspberry-pi-zero-2-w, virtio_rng.0, checkpoint_journal_mib",
    ],
)
def test_the_boxs_own_words_stay(words: str) -> None:
    assert Redactor().text(words) == words


def test_the_same_name_has_the_same_tag_and_what_was_learnt_goes_from_every_text() -> None:
    redactor = Redactor()
    redactor.learn("url", "https://Box.example:443/x")
    redactor.learn("user", "anna")
    assert (
        redactor.text("anna and ANNA at box.example, not annabel") == "<user-1> and <user-1> at <host-1>, not annabel"
    )
    assert redactor.text("https://box.example:443/x") == "<url-1>"
    assert redactor.name("user", "anna") == "<user-1>"
    assert redactor.counts() == {"host": 1, "url": 1, "user": 1}


def test_of_an_event_only_what_is_known_to_be_harmless_is_shown() -> None:
    event = {"event": "app.opened", "boot": 7, "who": "Anna", "code": "storage.failed", "level": "info", "ok": True}
    shown = Redactor().log_line(json.dumps(event))
    assert shown == "event=app.opened boot=7 who=<name-1> code=storage.failed level=info ok=True"
    assert Redactor().log_line("Started relay.service") == "Started relay.service"


def test_a_status_shows_numbers_and_the_boxs_own_words() -> None:
    status = {
        "users": 2,
        "server": "box.example",
        "outboxes": [{"server": "far.example", "bytes": 3}],
        "url": "http://x",
    }
    redactor = Redactor()
    assert redactor.value("", status) == {
        "users": 2,
        "server": "<server-1>",
        "outboxes": [{"server": "<server-2>", "bytes": 3}],
        "url": "<url-1>",
    }
    assert redactor.value("fault", "box.example has a fault") == "<server-1> has a fault"
    safe = {"safe_mode": "safe mode, nobody is served: it was asked for", "failed": "badauth"}
    assert redactor.value("status", safe) == safe


def test_an_ipv4_address_within_ipv6_leaves_none_of_itself() -> None:
    assert Redactor().text("from ::ffff:203.0.113.7, [::ffff:192.168.1.9]:8448") == (
        "from <private-address-1>, [<private-address-2>]:8448"
    )


def test_names_that_things_are_kept_under_are_replaced_too() -> None:
    assert Redactor().value("interfaces", {"eth0": True, "wlxaabbcc112233": True}) == {"eth0": True, "<mac-1>": True}
    routers = {"192.168.17.1": {"silent": False}, "fe80::17%wlan0": {"silent": True}, "anna's": {}}
    assert Redactor().value("status", {"routers": routers, "peak_memory_mib": 7.5}) == {
        "routers": {
            "<private-address-1>": {"silent": False},
            "<private-address-2>%wlan0": {"silent": True},
            "<name-1>": {},
        },
        "peak_memory_mib": 7.5,
    }
    assert Redactor().log_line('{"event": "app.opened", "10.0.0.7": 1}') == "event=app.opened <private-address-1>=1"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::", "[::]", "0.0.0.0", "::1"])
def test_addresses_that_every_machine_has_name_nobody(host: str) -> None:
    assert is_everybodys(host)
    assert not is_everybodys("192.0.2.1")


@settings(max_examples=50)
@given(st.text(max_size=200), st.lists(st.text(min_size=2, max_size=12), max_size=4))
def test_any_text_becomes_one_line_of_printable_ascii(text: str, names: list[str]) -> None:
    redactor = Redactor()
    for name in names:
        redactor.learn("name", name)
    for shown in (redactor.text(text), redactor.log_line(text), redactor.log_line(json.dumps({"x": text}))):
        assert shown.isascii()
        assert shown.isprintable()
