"""What may be set of an interface's addresses: texts that people type, checked before anything is touched.

`network.eth0.address = 192.168.1.5/24`; the name of the interface may itself have dots. Source of the other side:
nm-settings-dbus(5) of NetworkManager, "ipv4 setting" and "ipv6 setting".
"""

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any, Self

from relay.base.errors import ConfigError

PREFIX = "network."
DHCP, AUTO, OFF, NONE = "dhcp", "auto", "off", "none"

Section = dict[str, tuple[str, Any]]
Profile = dict[str, Section]

_MOST_NAME_BYTES = 15  # IFNAMSIZ of the kernel, without its NUL
_DAD_MS = 500
# The service's word for how addresses are got, and ours; a word that is not here is shown as it is and never set.
_METHODS = {4: {AUTO: DHCP, "disabled": OFF}, 6: {"disabled": OFF, "dhcp": DHCP}}
_SECTIONS = {4: "ipv4", 6: "ipv6"}
_OLD_FORMS = ("addresses", "routes", "dns")

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclasses.dataclass(frozen=True, slots=True)
class Addressing:
    """How one interface gets its addresses.

    Attributes:
        address: `dhcp`, `off`, or IPv4 addresses with the length of their network, divided by commas.
        gateway: the router's IPv4 address; `none`; `auto` where it is told by DHCP.
        address6: `auto` (as the router says), `dhcp`, `off`, or IPv6 addresses.
        gateway6: as `gateway`.
        dns: DNS servers, divided by commas; `auto`: as the network says.
    """

    address: str = DHCP
    gateway: str = AUTO
    address6: str = AUTO
    gateway6: str = AUTO
    dns: str = AUTO

    @classmethod
    def read(cls, profile: Profile) -> Self:
        """Return what a profile of the service says."""
        found: dict[str, str] = {}
        servers: list[str] = []
        for version, end in ((4, ""), (6, "6")):
            section = profile.get(_SECTIONS[version], {})
            method = _value(section, "method", AUTO)
            addresses = [f"{one['address'][1]}/{one['prefix'][1]}" for one in _value(section, "address-data", [])]
            word = ",".join(addresses) if method == "manual" else _METHODS[version].get(method, method)
            found[f"address{end}"] = word
            found[f"gateway{end}"] = _value(section, "gateway", "") or (NONE if method == "manual" else AUTO)
            servers += _value(section, "dns-data", [])
        return cls(**found, dns=",".join(servers) or AUTO)

    def texts(self) -> dict[str, str]:
        """Return it as settings."""
        return dataclasses.asdict(self)

    def changed(self, name: str, texts: Mapping[str, str]) -> Self:
        """Return this with `texts` in place, for the interface `name`.

        Raises:
            ConfigError: they do not fit each other; the message says which and why.
        """
        values = {**dataclasses.asdict(self), **{key: checked(key, text) for key, text in texts.items()}}
        for end in ("", "6"):
            gateway = f"gateway{end}"
            fixed = is_fixed(values[f"address{end}"])
            if fixed and values[gateway] == AUTO:
                # Nobody tells one beside fixed addresses.
                values[gateway] = NONE
            elif not fixed and gateway not in texts:
                # A router that belonged to addresses which are no more.
                values[gateway] = AUTO
        after = dataclasses.replace(self, **values)
        after.check(name)
        return after

    def check(self, name: str) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: the message says what and why.
        """
        if self.address == self.address6 == OFF:
            raise ConfigError(f"{name} would have no address at all: pull its cable out instead")
        for end in ("", "6"):
            self._check_gateway(name, end)
        for server in _split(self.dns):
            end = "6" if ":" in server else ""
            if getattr(self, f"address{end}") == OFF:
                family = "IPv6" if end else "IPv4"
                raise ConfigError(f"the DNS server {server} cannot be asked: {name} has {family} off")

    def _check_gateway(self, name: str, end: str) -> None:
        text, addresses = getattr(self, f"gateway{end}"), self._fixed(f"address{end}")
        if text == AUTO:
            return
        if not addresses:
            what = (
                f"takes the gateway{end} that its network tells, if any," if text == NONE else "is not told a gateway"
            )
            raise ConfigError(f"{name} {what} while its address{end} is {getattr(self, f'address{end}')}")
        if text == NONE:
            return
        gateway = ipaddress.ip_address(text)
        if any(gateway == own.ip for own in addresses):
            raise ConfigError(f"the gateway {text} is {name}'s own address: it is that of the router")
        if gateway.is_link_local and gateway.version == 6:
            return
        homes = [own for own in addresses if gateway in own.network]
        if not homes:
            shown = ", ".join(map(str, addresses))
            raise ConfigError(f"the gateway {text} is not in the network of {shown}: {_range(addresses[0])}")
        _refuse_ends(text, gateway, homes[0].network)

    def fixed(self) -> list[Address]:
        """Return the addresses that are set, of both kinds."""
        return [*self._fixed("address"), *self._fixed("address6")]

    def _fixed(self, key: str) -> list[Address]:
        text: str = getattr(self, key)
        return [ipaddress.ip_interface(one) for one in _split(text)] if is_fixed(text) else []

    def notes(self, name: str) -> list[str]:
        """Return what works and is probably not meant."""
        notes = []
        if is_fixed(self.address) and self.gateway == NONE:
            notes.append(f"{name} has no gateway: no way to the world by IPv4 (set {PREFIX}{name}.gateway)")
        if is_fixed(self.address) and self.dns == AUTO:
            notes.append(f"{name} has no DNS server set: names may not be found (set {PREFIX}{name}.dns)")
        return notes

    def write(self, profile: Profile, before: "Addressing") -> Profile:
        """Return `profile`, which said `before`, saying this; what is the same in both stays untouched."""
        after = {key: dict(section) for key, section in profile.items()}
        for version, end in ((4, ""), (6, "6")):
            section = after.setdefault(_SECTIONS[version], {"method": ("s", AUTO)})
            for old in _OLD_FORMS:
                section.pop(old, None)
            if getattr(self, f"address{end}") != getattr(before, f"address{end}"):
                self._write_addresses(section, version, end)
            if getattr(self, f"gateway{end}") != getattr(before, f"gateway{end}"):
                _put_gateway(section, getattr(self, f"gateway{end}"))
            if self.dns != before.dns:
                servers = [server for server in _split(self.dns) if (":" in server) == (version == 6)]
                section["dns-data"] = ("as", servers)
                section["ignore-auto-dns"] = ("b", self.dns != AUTO)
        return after

    def _write_addresses(self, section: Section, version: int, end: str) -> None:
        text = getattr(self, f"address{end}")
        methods = {ours: theirs for theirs, ours in _METHODS[version].items()}
        section["method"] = ("s", "manual" if is_fixed(text) else methods.get(text, text))
        data = [
            {"address": ("s", str(own.ip)), "prefix": ("u", own.network.prefixlen)}
            for own in self._fixed(f"address{end}")
        ]
        section["address-data"] = ("aa{sv}", data)
        if version == 4 and data:
            # Another machine that has the address already is heard of before it is taken.
            section["dad-timeout"] = ("i", _DAD_MS)


KEYS = tuple(field.name for field in dataclasses.fields(Addressing))


def is_fixed(address: str) -> bool:
    """Return whether `address` or `address6` names addresses, and is not a word for how they are got."""
    return "/" in address


def parse_key(key: str) -> tuple[str, str]:
    """Return (interface, setting) of `network.eth0.address`.

    Raises:
        ConfigError: there is no such setting.
    """
    name, _, setting = key.removeprefix(PREFIX).rpartition(".")
    if setting not in KEYS or not 0 < len(name.encode()) <= _MOST_NAME_BYTES or "/" in name or " " in name:
        raise ConfigError(
            f"there is no {key[:60]}; of an interface can be set: {', '.join(KEYS)}, as {PREFIX}eth0.address"
        )
    return name, setting


def by_interface(settings: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return `network.*` settings by interface.

    Raises:
        ConfigError: one does not exist.
    """
    found: dict[str, dict[str, str]] = {}
    for key, text in settings.items():
        name, setting = parse_key(key)
        found.setdefault(name, {})[setting] = text
    return found


def checked(setting: str, text: str) -> str:
    """Return the usual form of a value.

    Raises:
        ConfigError: it cannot be one, whatever the other settings are.
    """
    text = ",".join(part.strip() for part in text.split(",")).lower()
    version = 6 if setting.endswith("6") else 4
    match setting:
        case "address" | "address6":
            words = {4: {DHCP: DHCP, AUTO: DHCP, OFF: OFF}, 6: {DHCP: DHCP, AUTO: AUTO, OFF: OFF}}[version]
            return words.get(text) or ",".join(str(own) for own in _addresses(setting, text, version))
        case "gateway" | "gateway6":
            return text if text in (AUTO, NONE) else str(_plain(setting, text, version))
        case _:
            return text if text == AUTO else ",".join(_servers(text))


def problems(settings: Mapping[str, str], present: Mapping[str, Any]) -> list[str]:
    """Return why planned `network.*` settings cannot be done, or what of them may not be meant.

    Args:
        settings: what is planned, by whole names.
        present: what is in force, by whole names.
    """
    found = []
    for name, texts in by_interface(settings).items():
        is_now = {key: str(present[f"{PREFIX}{name}.{key}"]) for key in KEYS if f"{PREFIX}{name}.{key}" in present}
        try:
            found += Addressing(**is_now).changed(name, texts).notes(name)
        except ConfigError as error:
            found.append(str(error))
    return found


def refuse_doubles(all_of: Mapping[str, Addressing]) -> None:
    """Refuse an address that two interfaces would have.

    Raises:
        ConfigError: two would.
    """
    owners: dict[str, str] = {}
    for name, addressing in all_of.items():
        for own in addressing.fixed():
            other = owners.setdefault(str(own.ip), name)
            if other != name:
                raise ConfigError(f"{other} and {name} would both have {own.ip}")


def _addresses(setting: str, text: str, version: int) -> list[Address]:
    found: list[Address] = []
    for one in text.split(","):
        if "/" not in one:
            _plain(setting, one, version)
            example = "192.168.1.5/24" if version == 4 else "2001:db8::5/64"
            raise ConfigError(f"{setting} {one} lacks the length of its network, as in {example}")
        try:
            own = ipaddress.ip_interface(one)
        except ValueError:
            raise ConfigError(
                f"{setting} is no IPv{version} address with the length of its network: {one[:60]}"
            ) from None
        _refuse_unusable(setting, own.ip, version)
        _refuse_ends(str(own), own.ip, own.network)
        if own.version == 6 and own.ip.is_link_local:
            raise ConfigError(f"{one} is one that the box gives itself: set one of your network's")
        if any(own.ip == other.ip for other in found):
            raise ConfigError(f"{own.ip} is there twice")
        found.append(own)
    return found


def _plain(setting: str, text: str, version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise ConfigError(f"{setting} is no IPv{version} address: {text[:60]}") from None
    _refuse_unusable(setting, address, version)
    return address


def _servers(text: str) -> list[str]:
    found: list[str] = []
    for one in text.split(","):
        try:
            version = ipaddress.ip_address(one).version
        except ValueError:
            raise ConfigError(f"dns takes addresses of servers, divided by commas, or auto; not {one[:60]}") from None
        if (server := str(_plain("dns", one, version))) in found:
            raise ConfigError(f"{server} is there twice")
        found.append(server)
    return found


def _refuse_unusable(setting: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, version: int) -> None:
    if address.version != version:
        other = setting.removesuffix("6") if version == 6 else f"{setting}6"
        raise ConfigError(f"{address} is an IPv{address.version} address: that is {other}")
    kinds = {
        "means no address": address.is_unspecified,
        "is for groups of machines (multicast)": address.is_multicast,
        "is every machine's own (loopback)": address.is_loopback and setting != "dns",
        "means everybody (broadcast)": str(address) == "255.255.255.255",
        "is IPv4 in IPv6's clothes": isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None,
        "is reserved": address.is_reserved and not address.is_loopback,
    }
    for why, so in kinds.items():
        if so:
            raise ConfigError(f"{address} cannot be used: it {why}")


def _refuse_ends(
    shown: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> None:
    if network.prefixlen == 0:
        raise ConfigError(f"{shown}: a network of length 0 is the whole internet")
    if network.num_addresses <= 2:
        return
    if address == network.network_address:
        raise ConfigError(f"{shown} is the name of the whole network {network}, not an address in it")
    if network.version == 4 and address == network.broadcast_address:
        raise ConfigError(f"{shown} is the broadcast address of {network}, not one machine's")


def _range(own: Address) -> str:
    network = own.network
    if network.num_addresses <= 2:
        return f"{network} has no room for one"
    return f"that is {network.network_address + 1} to {network.broadcast_address - (network.version == 4)}"


def _split(text: str) -> list[str]:
    return [] if text in (AUTO, NONE, "") else text.split(",")


def _put_gateway(section: Section, text: str) -> None:
    section.pop("gateway", None)
    if text not in (AUTO, NONE):
        section["gateway"] = ("s", text)
        section["never-default"] = ("b", False)


def _value(section: Section, key: str, default: Any) -> Any:  # noqa: ANN401 - as D-Bus has it
    return section[key][1] if key in section else default
