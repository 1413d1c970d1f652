"""Results in plain words, for people: lists of lines."""

import datetime
from typing import Any

OWN_AUTHORITY = "own"


_WAYS_OUT = (
    "what can be done here: restart (try again), rollback (the settings before the last change), repair (damaged",
    "flash), release back, diagnostics (a text for whoever helps), doctor, and factory-reset (forget everything)",
)


def provisioned(result: dict[str, Any]) -> list[str]:
    """Return what to tell after a box was set up."""
    lines = [
        f"The box is {result['server']}. This name is part of every user's and room's id: it can never change.",
    ]
    if result.get("owner"):
        lines.append(f"Owner: {result['owner']}")
    if result.get("fingerprint"):
        lines += [
            "It made its own certificate authority, SHA-256 fingerprint:",
            f"  {result['fingerprint']}",
            "Apps and servers elsewhere refuse it until they trust tls/ca.pem of the state folder.",
        ]
    lines.append(f"Apps reach it at {result['url']}")
    return [*lines, *(f"next: {advice}" for advice in result.get("advice", ()))]


def addresses(usual: dict[str, Any], planned: dict[str, str]) -> list[str]:
    """Return where a new box will be found, for people who were not asked."""
    doors = {key: planned.get(key, usual[key]) for key in ("federation", "client")}
    return [
        f"The board is {usual['board']}: servers reach it at {doors['federation']}, apps at {doors['client']}.",
        "Other addresses: no now, then set federation or set client, then apply.",
    ]


def certificates(name: str) -> list[str]:
    """Return what to know before somebody says who certifies the box."""
    return [
        "certificate: letsencrypt gets one that everybody trusts, once port 443 of",
        f"{name} reaches the box; typing it says yes to",
        f"the terms at letsencrypt.org/repository. {OWN_AUTHORITY}: others refuse the box",
        "until they trust it.",
    ]


def invitation(result: dict[str, Any]) -> list[str]:
    """Return an invitation: address, token and its end."""
    end = datetime.datetime.fromtimestamp(result["expires_ms"] / 1000, datetime.UTC)
    return [
        result["url"],
        f"Registration token: {result['token']}  (once, until {end:%Y-%m-%d %H:%M} UTC)",
    ]


def users(result: dict[str, Any]) -> list[str]:
    """Return one line a user."""
    lines = []
    for person in result["users"]:
        notes = [note for note, on in (("admin", person["admin"]), ("deactivated", not person["active"])) if on]
        lines.append("  ".join([person["user"], *notes]))
    return lines or ["nobody yet"]


def status(result: dict[str, Any]) -> list[str]:
    """Return the facts, one a line, nested ones indented."""
    if not result.get("running"):
        if waits := result.get("waits") or result.get("safe_mode"):
            way_out = _WAYS_OUT if "safe_mode" in result else ()
            return [f"{result['server'] or 'this box'}: {waits}", f"next: {result['next_step']}", *way_out]
        if fault := result.get("fault"):
            return [f"this box is not running: {fault}", f"next: {result['next_step']}"]
        if not result.get("provisioned"):
            return ["not set up", "next: relay provision, or relay console"]
        held = ", but a process holds its folder" if result.get("locked") else ""
        return [f"{result['server']} is not running{held}", "next: relay doctor" if held else "next: relay up"]
    return list(_facts(result, ""))


def _facts(value: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, fact in value.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if isinstance(fact, dict):
            lines += [label, *_facts(fact, indent + "  ")]
        elif isinstance(fact, list):
            lines.append(f"{label}: {len(fact)}")
            lines += [f"{indent}  {', '.join(f'{k} {v}' for k, v in row.items())}" for row in fact if row]
        else:
            lines.append(f"{label}: {fact}")
    return lines


def network(result: dict[str, Any]) -> list[str]:
    """Return how the box is connected."""
    lines = ["online" if result["online"] else "offline"]
    for interface in result["interfaces"]:
        lines += link(interface)
    return [*(lines if result["interfaces"] else [*lines, "no interface"]), f"name: {result['hostname']}"]


_KINDS = {"ethernet": "Ethernet", "wifi": "Wi-Fi"}
_HOW = {"dhcp": "by DHCP", "auto": "as the router says", "fixed": "fixed"}


def link(interface: dict[str, Any]) -> list[str]:
    """Return one interface: how it is, its addresses and how it got them, gateway and DNS."""
    network = f" {interface['profile']}" if interface["kind"] == "wifi" and interface["profile"] else ""
    lines = [f"{interface['name']}  {_KINDS[interface['kind']]}{network}, {interface['state']}"]
    servers: list[str] = []
    for family in (interface["ipv4"], interface["ipv6"]):
        # What every interface gives itself says nothing.
        addresses = [address for address in family["addresses"] if not address.startswith("fe80:")]
        servers += family["dns"]
        if addresses:
            how = _HOW.get(family["how"], family["how"])
            gateway = f", gateway {family['gateway']}" if family["gateway"] else ""
            lines.append(f"  {', '.join(addresses)}{' ' + how if how else ''}{gateway}")
    return [*lines, *([f"  DNS {', '.join(servers)}"] if servers else [])]


def networks(result: dict[str, Any]) -> list[str]:
    """Return one line a network, the strongest first."""
    lines = [f"{network['signal_dbm']} dBm  {_asks(network)}  {network['ssid']}" for network in result["networks"]]
    return lines or ["none in reach"]


def _asks(network: dict[str, Any]) -> str:
    # Of these the box takes only those that ask for a password at most.
    return "users " if network.get("enterprise") else "locked" if network["secured"] else "open  "


def findings(result: dict[str, Any]) -> list[str]:
    """Return one paragraph a finding."""
    lines = []
    for finding in result["findings"]:
        lines += [f"{finding['level']}: {finding['what']}", f"  next: {finding['next_step']}"]
    return lines or ["nothing wrong"]


def changes(differences: dict[str, tuple[str, str]]) -> list[str]:
    """Return what would change, as lines that go and lines that come."""
    lines = []
    for key, (is_now, planned) in differences.items():
        lines += [*([f"- {key} = {is_now}"] if is_now else []), f"+ {key} = {planned}"]
    return lines or ["no difference to what is in force"]


def trial(result: dict[str, Any]) -> list[str]:
    """Return that something waits to be said right, nothing where nothing does."""
    left_s = result.get("goes_back_in_s")
    if left_s is None:
        return []
    why = ["You may have come over the network that changed, so nothing is kept yet."] if result.get("careful") else []
    return [*why, f"On trial: it goes back by itself in {left_s:.0f} s. commit keeps it, rollback takes it back now."]


def saved(result: dict[str, Any]) -> list[str]:
    """Return what became of changed settings."""
    if not result["changed"]:
        return ["Nothing changed."]
    how = "The box starts again with them." if result.get("restarting") else "They count from the next start."
    first = "In force." if "interfaces" in result and "goes_back_in_s" in result else "Saved."
    lines = [f"{first} {how}" if result["restart_needed"] else first]
    for interface in result.get("interfaces", ()):
        lines += link(interface)
    return [*lines, *network_changed(result)]


def network_changed(result: dict[str, Any]) -> list[str]:
    """Return what people should know of a change of the network, nothing where there was none."""
    return [*(f"! {note}" for note in result.get("notes", ())), *trial(result)]


def flat(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return settings by their dotted names."""
    return {f"{section}.{name}": value for section, table in tables.items() for name, value in table.items()}
