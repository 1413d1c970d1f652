from typing import Any

from relay.base.limits import FROM_AFAR_TRIAL_S
from tests.fakes.console_operator import MemoryBox
from tests.fakes.console_person import Person


def test_an_address_is_planned_looked_at_tried_and_kept_in_words() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert "eth0.address = dhcp" in person.type("", "show network")
    assert "lacks the length" in person.type("set network.eth0.address 192.0.2.5")
    assert "error" not in person.type("set network.eth0.address=192.0.2.5/24", "set network.eth0.gateway 192.0.3.1")
    planned = person.type("plan")
    assert "+ network.eth0.address = 192.0.2.5/24" in planned
    assert "! the gateway 192.0.3.1 is not in the network of 192.0.2.5/24" in planned
    person.type("set network.eth0.gateway 192.0.2.1")
    assert "everything goes back to how it was" in person.type("commit confirmed 2")
    assert person.box.asked[-1]["confirm_s"] == 120
    assert "Kept" in person.type("commit")


def test_a_new_box_has_a_network_to_set_up_before_anything_else() -> None:
    person = Person()
    person.type("", "set network.eth0.address 192.0.2.5/24")
    assert "the box itself is set up later" in person.type("plan")
    assert "On trial" in person.type("commit confirmed 1")
    assert person.box.asked[-1]["verb"] == "set"
    assert "Kept" in person.type("commit")
    assert not person.box.provisioned()
    person.type("set network.eth0.dns 192.0.2.1", "set name box.example", "set owner anna")
    person.type("set password", "swordfish", "swordfish", "apply")
    assert [asked["verb"] for asked in person.box.asked[-2:]] == ["set", "provision"]
    assert person.box.asked[-1]["settings"] == {}


def test_whoever_sets_a_new_box_up_from_afar_hears_that_its_network_is_on_trial() -> None:
    planned = {"network.eth0.address": "192.0.2.5/24", "name": "box.example", "owner": "anna", "password": "swordfish"}
    person, program = Person(), Person()
    person.box.from_afar = program.box.from_afar = True
    person.type("", *(f"set {key} {value}" for key, value in planned.items() if key != "password"))
    told = person.type("set password", "swordfish", "swordfish", "apply")
    assert f"it goes back by itself in {FROM_AFAR_TRIAL_S:.0f} s. commit keeps it" in told
    assert "You may have come over the network that changed" in told
    assert "Kept" in person.type("commit")
    program.ask(seq=1, verb="set", settings=planned)
    result = program.ask(seq=2, verb="apply")["result"]
    assert (result["server"], result["goes_back_in_s"], result["careful"]) == ("box.example", FROM_AFAR_TRIAL_S, True)


def test_a_network_that_is_set_is_planned_no_more_though_the_box_cannot_be_set_up() -> None:
    class FullBox(MemoryBox):
        def _provision(self, name: str, settings: dict[str, str], **_basics: str) -> dict[str, Any]:
            raise LookupError(f"no room for {name} and {len(settings)} settings")

    person = Person(FullBox())
    person.type("", "set network.eth0.address 192.0.2.5/24", "set name box.example", "set owner anna")
    assert "no room" in person.type("set password", "swordfish", "swordfish", "apply")
    assert person.kept == {"name": "box.example"}


def test_a_network_is_forgotten_by_its_name() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert "Wi-Fi home, connected" in person.type("", "wifi join home", "correct horse")
    assert "home is forgotten" in person.type("wifi forget home")
    assert "knows no network" in person.type("wifi forget home")
