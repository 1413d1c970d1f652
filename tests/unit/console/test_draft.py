import pytest

from relay.base.errors import ConfigError, InvalidInputError, RelayError
from relay.console.draft import BASICS, Draft, setting_names


def test_planning_the_same_twice_is_the_same() -> None:
    draft = Draft()
    for _ in range(2):
        draft.set("name", "box.example", provisioned=False)
    assert draft.shown() == {"name": "box.example"}


def test_what_is_kept_names_nobody_and_holds_no_secret() -> None:
    draft = Draft()
    for key, value in {"name": "box.example", "owner": "anna", "password": "swordfish"}.items():
        draft.set(key, value, provisioned=False)
    assert draft.kept() == {"name": "box.example"}
    assert draft.shown()["password"] == "***"
    assert draft.missing(provisioned=False) == []


def test_an_empty_draft_keeps_nothing() -> None:
    assert Draft().kept() is None


def test_a_new_box_is_provisioned_and_an_old_one_changed() -> None:
    draft = Draft({"name": "box.example", "log.level": "debug"})
    assert draft.request(provisioned=False) == {
        "verb": "provision",
        "name": "box.example",
        "settings": {"log.level": "debug"},
    }
    assert draft.request(provisioned=True) == {"verb": "set", "settings": {"log.level": "debug"}}


@pytest.mark.parametrize("provisioned", [True, False])
def test_settings_that_belong_together_are_planned_one_after_the_other(provisioned: bool) -> None:
    for pair in (("acme.eab_key_id", "acme.eab_key_file"), ("tls.cert", "tls.key"), ("dns.server", "dns.key_file")):
        draft = Draft()
        for key in pair:
            draft.set(key, "a", provisioned=provisioned)
        assert set(draft.values()) == set(pair)


def test_an_address_has_its_short_name_before_and_after() -> None:
    draft = Draft()
    draft.set("client", "127.0.0.1:80", provisioned=True)
    assert draft.shown() == {"client.listen": "127.0.0.1:80"}
    assert draft.drop("client")
    assert not draft.drop("client")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "no spaces"),
        ("name", ""),
        ("owner", "Anna"),
        ("federation", "x"),
        ("server.name", "x.example"),
        ("rate.login_burst", "many"),
        ("rate.login_burst", "-1"),
        ("nothing", "x"),
    ],
)
def test_what_could_not_be_applied_is_not_planned(key: str, value: str) -> None:
    draft = Draft()
    with pytest.raises(RelayError) as caught:
        draft.set(key, value, provisioned=False)
    assert isinstance(caught.value, ConfigError | InvalidInputError)
    assert draft.shown() == {}


def test_names_of_settings_are_offered_as_long_as_they_can_be_set() -> None:
    assert set(BASICS) < set(setting_names(provisioned=False))
    assert "name" not in setting_names(provisioned=True)
    assert "client.listen" in setting_names(provisioned=True)
    assert "server.name" not in setting_names(provisioned=False)
    assert setting_names(provisioned=True, interfaces=["eth0"])[-1] == "network.eth0.dns"


def test_settings_of_interfaces_are_checked_when_they_are_planned_and_are_a_new_box_s_too() -> None:
    draft = Draft()
    for key, value in (("network.eth0.address", "192.0.2.5"), ("network.eth0.speed", "1"), ("network.dns", "auto")):
        with pytest.raises(ConfigError):
            draft.set(key, value, provisioned=False)
    draft.set("network.eth0.address", "192.0.2.5/24", provisioned=False)
    assert draft.is_network_only()
    draft.set("name", "box.example", provisioned=False)
    assert not draft.is_network_only()
    assert draft.network() == {"network.eth0.address": "192.0.2.5/24"}
    assert draft.request(provisioned=False) == {"verb": "provision", "name": "box.example", "settings": {}}
    assert not Draft().is_network_only()
