"""The box's name in the DNS: who keeps it, and how `status` and `doctor` speak of that."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.admin.operations import Finding
from relay.app.child import ask_child
from relay.app.house import House
from relay.base.clock import Clock, knows_time
from relay.base.config_names import DnsConfig, names_or_host

if TYPE_CHECKING:
    from relay.uplink.addresses import Addresses
    from relay.uplink.name_follower import NameFollower

_NEXT = {
    "settings": "correct [dns] in the settings, or the key file",
    "unreachable": "look at the line and at dns.server; the box goes on trying",
    "key": "let dns.key_file hold a key that the name server knows, by its name",
    "secret": "bring the name server's own copy of the key into dns.key_file",
    "clock": "set the clocks, at the console: time set; signatures are good for five minutes",
    "refused": "let the name server allow this key to change this name (BIND: update-policy)",
    "zone": "let dns.server be the one that has the zone of the name",
    "badauth": "correct dns.user and the password in dns.key_file, then restart the box",
    "nohost": "correct dns.name and restart the box; or make the name at the provider, and restart it in an hour",
    "!yours": "correct dns.name or dns.user, then restart the box",
    "notfqdn": "let dns.name be a whole host name, then restart the box",
    "abuse": "ask the provider to lift it, then restart the box; not within an hour of this",
}
_FATAL = "correct it at the provider or in [dns]; with other settings, or after an hour, a restart asks again"
_LATER = "the box tries again by itself"


def name_follower(house: House, external: Callable[[], Sequence[str]]) -> "NameFollower":
    """Return who keeps the name of `house`; `external` are the router's addresses as it says itself."""
    from relay.uplink.name_follower import NameFollower

    settings = house.config.dns
    name = names_or_host(settings.name, house.server)[0]
    look = partial(_look, external)
    return NameFollower(settings, name, look, partial(ask_child, house.folder), house.clock)


def _look(external: Callable[[], Sequence[str]]) -> "Addresses":
    from relay.uplink.addresses import Addresses, own_addresses, public

    own = own_addresses()
    at_router = [address for address in external() if "." in address and public(address)]
    return Addresses(own.ipv4 or next(iter(at_router), ""), own.ipv6)


def watch_name(house: House, follower: "NameFollower") -> tuple[dict[str, Any], list[Finding]]:
    """Return what is known of the name, and what is wrong with it."""
    return {"name": follower.status()}, list(find_about_the_name(house.config.dns, follower, house.clock))


def find_about_the_name(settings: DnsConfig, follower: "NameFollower", clock: Clock) -> Iterator[Finding]:
    """Return what keeps the name from saying where the box is."""
    if follower.kind:
        what = f"name.{follower.kind}: {follower.name} was not updated: {follower.detail}"
        yield Finding("warning", what, _NEXT.get(follower.kind, _FATAL if follower.fatal else _LATER))
    elif not knows_time(clock):
        yield Finding("warning", f"name.clock: {follower.name} is not kept: the clock is not set", "time set, in UTC")
    if settings.method == "rfc2136" and settings.ipv4 and not follower.here.ipv4:
        yield Finding(
            "warning" if not follower.here.ipv6 else "note",
            "name.no_address: nobody knows the public IPv4 address: this machine has none, the router does not say",
            'set uplink.map_ports to "auto", or dns.ipv4 to false where the line has IPv6 alone',
        )
    if follower.elsewhere:
        yield Finding(
            "warning",
            f"name.elsewhere: {follower.name} points to {', '.join(follower.elsewhere)}, the box is at "
            f"{', '.join(address for address in follower.here if address)}",
            "look whether somebody else changes the name, and whether this machine asks an old name server",
        )
