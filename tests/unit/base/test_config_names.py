import pytest

from relay.base.config import Config
from relay.base.config_names import AcmeConfig, DnsConfig, is_certified_in_public, split_names
from relay.base.errors import ConfigError

DIRECTORY = "https://acme.example/dir"


@pytest.mark.parametrize(
    "wrong",
    [
        {"challenge": "http-01"},
        {"directory": "http://acme.example/dir"},
        {"directory": "https:///dir"},
        {"directory": "https://[acme.example/dir"},
        {"directory": "https://acme.example:port/dir"},
        {"contact": "anna"},
        {"contact": "a b@example"},
        {"names": "box.example, ..."},
        {"directory": DIRECTORY, "eab_key_id": "kid"},
        {"directory": DIRECTORY, "eab_key_file": "eab.key"},
        {"names": "192.0.2.7", "challenge": "dns-01"},
    ],
)
def test_what_no_authority_would_take_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="acme"):
        AcmeConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "ddns"},
        {"method": "dyndns2", "server": "http://dyn.example/nic/update", "key_file": "password"},
        {"method": "dyndns2", "server": "https://[dyn.example/nic/update", "key_file": "password"},
        {"name": "not a name"},
        {"ttl": 5},
    ],
)
def test_what_no_name_server_would_take_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="dns"):
        DnsConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tables", "about"),
    [
        ({"acme": {"directory": DIRECTORY}, "tls": {"cert": "a", "key": "b"}}, "tls.cert"),
        ({"acme": {"directory": DIRECTORY, "challenge": "dns-01"}}, "dns.server"),
        (
            {
                "acme": {"directory": DIRECTORY, "challenge": "dns-01"},
                "dns": {"method": "dyndns2", "server": "https://dyn.example/nic/update", "key_file": "k"},
            },
            "RFC 2136",
        ),
    ],
)
def test_sections_that_contradict_each_other_are_refused(tables: dict[str, object], about: str) -> None:
    with pytest.raises(ConfigError, match=about):
        Config.parse({"server": {"name": "box.example"}, **tables})


def test_names_are_divided_by_commas_and_spaces() -> None:
    assert split_names("Box.example., chat.example 192.0.2.7") == ["box.example", "chat.example", "192.0.2.7"]


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("family.net", True),
        ("Box.Family.NET:8448", True),
        ("box.local", False),
        ("box.home.arpa", False),
        ("box", False),
        ("192.0.2.7:8448", False),
        ("[2001:db8::7]", False),
    ],
)
def test_names_inside_a_house_are_certified_by_nobody(name: str, public: bool) -> None:
    assert is_certified_in_public(name) == public
