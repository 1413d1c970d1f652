"""The three ways to set a box up over its cable: by a person, by a browser's installer, by a program."""

from tests.guest import hands, improv_client, neighbours
from tests.guest.cable import Cable
from tests.guest.findings import Findings
from tests.guest.guest_box import GuestBox

OWNER, PASSWORD = "anna", "correct horse battery"
_SLOWLY_S = 240
_APPLIED_WITHIN_S = 400


def by_a_person(cable: Cable, box: GuestBox, findings: Findings) -> None:
    """Type the commands of a person; serve; forget everything again at the touch of the button."""
    cable.wake(60)
    hands.see_light(box.machine.wires, hands.is_slow, findings)
    for line in (f"set name {box.name}", f"set owner {OWNER}"):
        cable.say(line)
    planned = cable.say("plan")
    findings.expect("missing: password" in planned, planned)
    cable.say("set password", "Password: ")
    cable.say(PASSWORD, "again: ")
    cable.say(PASSWORD)
    planned = cable.say("plan")
    findings.expect("Nothing is missing" in planned, planned)
    done = cable.say("apply", "relay> ", within_s=_SLOWLY_S)
    findings.expect(f"@{OWNER}:{box.name}" in done and "█" in done, done)
    _serves(box, findings, "a person's commands")
    status = cable.say("status", within_s=_SLOWLY_S)
    findings.expect("running: True" in status, status)
    findings.expect(PASSWORD.encode() not in cable.transcript, "the password was shown")
    locked = cable.say("lock")
    findings.expect("Locked" in locked, locked)
    cable.say("restart", "owner's password", within_s=_SLOWLY_S)
    refused = cable.say("", "relay> ")
    findings.expect("Nothing done" in refused, refused)
    cable.say("unlock", "owner's password")
    opened = cable.say(PASSWORD, "relay> ", within_s=_SLOWLY_S)
    findings.expect("allowed" in opened, opened)
    findings.expect(PASSWORD.encode() not in cable.transcript, "the password was shown")
    cable.say("lock")
    hands.use_the_button(cable, box, findings)


def by_an_installer(cable: Cable, box: GuestBox, findings: Findings) -> None:
    """Send what a browser's installer sends: look, scan, join a Wi-Fi network, come back for the address."""
    neighbours.move_in(box.machine)
    line = cable.fileno()
    state = improv_client.ask(line, improv_client.CURRENT_STATE)
    findings.expect(not any(state.errors), state)
    told = improv_client.ask(line, improv_client.DEVICE_INFO)
    findings.expect(told.results[0][0] == "Doorstep" and told.results[0][2] == "qemu-virt", told)
    found = improv_client.ask(line, improv_client.SCAN)
    findings.expect(neighbours.SSID in [result[0] for result in found.results if result], found)
    wrong = improv_client.ask(line, improv_client.SEND_WIFI, neighbours.SSID, "wrong horse battery")
    findings.expect(wrong.errors[-1] == 3, f"a wrong password was taken: {wrong}")
    joined = improv_client.ask(line, improv_client.SEND_WIFI, neighbours.SSID, neighbours.PASSWORD)
    findings.expect(joined.states == [improv_client.PROVISIONING, improv_client.PROVISIONED], joined)
    address = box.machine.run("ip -4 -brief address show wlan0")
    findings.expect("192.168.77." in address, address)
    network = improv_client.ask(line, improv_client.NETWORK_STATE)
    findings.expect(int(network.results[0][0]) & 7 == 7, f"not online by Wi-Fi and Ethernet: {network}")
    seconds = {"identify": told.took_s, "scan": found.took_s, "wrong password": wrong.took_s, "join": joined.took_s}
    said = ", ".join(f"{what} {took_s:.0f} s" for what, took_s in seconds.items())
    findings.see("Improv: real join of a WPA2 network (simulated radios, NetworkManager)", said)
    settings_by_program(cable, box.name, findings, {})
    _serves(box, findings, "Improv, then the basics as JSON")
    state = improv_client.ask(line, improv_client.CURRENT_STATE)
    findings.expect(state.states[-1] == improv_client.PROVISIONED and state.results[0], f"no address: {state}")
    findings.see("Improv: address told after set-up", state.results[0][0])
    cable.ask(verb="lock")
    refused = cable.ask(seq=90, verb="restart")
    findings.expect(refused.get("code") == "console.locked", f"a program may change a locked box: {refused}")
    opened = cable.ask(verb="unlock", secret=PASSWORD, within_s=_SLOWLY_S)
    findings.expect(opened["ok"] and not opened["result"]["locked"], opened)
    reply = cable.ask(seq=91, verb="factory_reset", confirm=box.name, within_s=_SLOWLY_S)
    findings.expect(reply["ok"], reply)
    _is_empty(box, findings)


def by_a_program(cable: Cable, box: GuestBox, findings: Findings, settings: dict[str, str]) -> None:
    """Set the box up in JSON mode; ask again as a program does that lost the cable."""
    hello = cable.ask(seq=1, verb="hello")
    findings.expect(hello["result"]["provisioned"] is False, hello)
    done = settings_by_program(cable, box.name, findings, settings)
    findings.expect(done == cable.ask(seq=12, verb="apply", within_s=_SLOWLY_S), "the same question, another answer")
    _serves(box, findings, "JSON lines")
    findings.see("relay: start to ready", f"{box.start_s():.1f} s")


def settings_by_program(cable: Cable, name: str, findings: Findings, settings: dict[str, str]) -> dict[str, object]:
    """Give the box called `name` its owner and these settings, in JSON; return the whole reply."""
    basics = {"name": name, "owner": OWNER, "password": PASSWORD, **settings}
    planned = cable.ask(seq=11, verb="set", settings=basics)
    findings.expect(planned["ok"] and planned["result"]["missing"] == [], planned)
    done = cable.ask(seq=12, verb="apply", within_s=_APPLIED_WITHIN_S)
    findings.expect(done["ok"] and done["result"]["owner"] == f"@{OWNER}:{name}", done)
    return done


def _serves(box: GuestBox, findings: Findings, how: str) -> None:
    box.trust()
    waited_s = box.wait_until_open()
    api = box.login(OWNER, PASSWORD)
    findings.expect(api.call("GET", "v3/account/whoami")["user_id"] == f"@{OWNER}:{box.name}", "another user")
    findings.see(f"set up by {how}", f"open {waited_s:.0f} s later, its owner logged in over TLS")


def _is_empty(box: GuestBox, findings: Findings) -> None:
    left = box.machine.run("find /var/lib/doorstep -mindepth 1").split()
    findings.expect(not left, f"a reset left {left}")
