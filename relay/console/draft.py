"""What a person has decided so far. It survives a power cut, except what is secret or names somebody."""

from collections.abc import Iterable, Mapping
from typing import Any

from relay.base.config import Config, ServerConfig, split_address
from relay.base.config_names import AUTHORITIES, AcmeConfig
from relay.base.errors import ConfigError
from relay.base.ids import ServerName, make_user_id, parse_server_name
from relay.base.limits import MIN_PASSWORD_CHARACTERS

# The words of `relay provision`, without its dashes.
BASICS = {
    "name": "server name: the part behind the colon of every user's id; it can never change",
    "owner": "the first user, who looks after the box",
    "password": "the owner's password",
    "federation": "HOST:PORT where other servers reach the box",
    "client": "HOST:PORT where the family's apps reach the box",
    "profile": "the board",
    "tls_cert": "certificate chain; without one the box makes its own CA",
    "tls_key": "the key of the certificate",
    "tls_ca": "a private CA, trusted beside the system's",
    "acme": "who certifies the box: letsencrypt, or a directory's address; naming one says yes to its terms of service",
    "key_file": "the root key, best on another device",
}
_NEEDED = ("name", "owner", "password")
_ALIASES = {"federation": "federation.listen", "client": "client.listen", "acme": "acme.directory"}
SECRETS = ("password",)
# The state folder shows no name of a person; a password is shown nowhere at all.
_NEVER_KEPT = ("owner", "password")
# Settings of interfaces: `network.eth0.address`; what they may be, `relay.box.network_addressing` knows.
NETWORK = "network."
_SOME_NAME = ServerName("box.example")


class Draft:
    """The settings that `apply` will use: basics of a new box, and any dotted setting."""

    def __init__(self, kept: Mapping[str, str] | None = None) -> None:
        self._values = dict(kept or {})

    def set(self, key: str, value: str, *, provisioned: bool) -> None:
        """Plan `value` for `key`; planning the same twice is the same.

        Raises:
            ConfigError: there is no such setting, the value does not fit, or it cannot change any more.
            InvalidInputError: a name does not fit.
        """
        if provisioned:
            key = _ALIASES.get(key, key)
            if key in BASICS or key == "server.name":
                raise ConfigError(f"{key} was fixed when the box was set up")
        check(key, value, self._values)
        self._values[key] = value

    def drop(self, key: str) -> bool:
        """Take `key` back; return whether it was planned."""
        known = key in self._values or _ALIASES.get(key) in self._values
        self._values.pop(key, None)
        self._values.pop(_ALIASES.get(key, key), None)
        return known

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()

    def values(self) -> dict[str, str]:
        """Return everything planned, secrets included: for memory only."""
        return dict(self._values)

    def replace(self, other: "Draft") -> None:
        """Take over what `other` plans."""
        self._values = other.values()

    def value(self, key: str) -> str:
        """Return what is planned for `key`, or nothing."""
        return self._values.get(key, "")

    def missing(self, *, provisioned: bool) -> list[str]:
        """Return the basics that a new box still needs."""
        return [] if provisioned else [key for key in _NEEDED if not self._values.get(key)]

    def shown(self) -> dict[str, str]:
        """Return what is planned, secrets as stars of constant length."""
        return {key: "***" if key in SECRETS else value for key, value in self._values.items()}

    def kept(self) -> dict[str, str] | None:
        """Return what may lie on flash, None where that is nothing."""
        return {key: value for key, value in self._values.items() if key not in _NEVER_KEPT} or None

    def request(self, *, provisioned: bool, confirm_s: object = None) -> dict[str, Any]:
        """Return the operator's request that applies the draft, on trial for `confirm_s` seconds if that is given."""
        settings = {key: value for key, value in self._values.items() if key not in BASICS}
        if provisioned:
            trial = {} if confirm_s is None else {"confirm_s": confirm_s}
            return {"verb": "set", "settings": settings, **trial}
        basics = {key: value for key, value in self._values.items() if key in BASICS}
        ours = {key: value for key, value in settings.items() if not key.startswith(NETWORK)}
        return {"verb": "provision", **basics, "settings": ours}

    def network(self) -> dict[str, str]:
        """Return what is planned of the network, which a new box has too."""
        return {key: value for key, value in self._values.items() if key.startswith(NETWORK)}

    def is_network_only(self) -> bool:
        """Return whether something of the network is planned and nothing else."""
        return bool(self._values) and len(self.network()) == len(self._values)


def differences(planned: Mapping[str, str], present: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return (what is, what is planned) of every setting for which these differ, as texts."""
    texts = {key: setting_text(present.get(key)) for key in planned}
    return {key: (texts[key], value) for key, value in planned.items() if not _same(texts[key], value)}


def network_problems(planned: Mapping[str, str], present: Mapping[str, Any]) -> list[str]:
    """Return why what is planned of the network cannot be done, or what of it may not be meant."""
    settings = {key: value for key, value in planned.items() if key.startswith(NETWORK)}
    if not settings:
        return []
    from relay.box.network_addressing import problems

    return problems(settings, present)


def setting_text(value: object) -> str:
    """Return a setting as a person types it."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def check(key: str, value: str, others: Mapping[str, str]) -> None:
    """Refuse a value that could not be applied.

    Raises:
        ConfigError: there is no such setting or the value does not fit.
        InvalidInputError: it cannot be a name.
    """
    if not value:
        raise ConfigError(f"{key} has no value; drop {key} takes it back")
    match key:
        case "name":
            parse_server_name(value)
        case "owner":
            make_user_id(value, ServerName(others.get("name", _SOME_NAME)))
        case "federation" | "client":
            split_address(value)
        case "password" if len(value) < MIN_PASSWORD_CHARACTERS:
            raise ConfigError(f"a password needs at least {MIN_PASSWORD_CHARACTERS} characters")
        case "acme" if value not in AUTHORITIES:
            AcmeConfig(directory=value)
        case _ if key.startswith(NETWORK):
            from relay.box.network_addressing import checked, parse_key

            checked(parse_key(key)[1], value)
        case "server.name":
            raise ConfigError("the server name is set as name")
        case _ if key not in BASICS:
            Config(server=ServerConfig(name=_SOME_NAME)).with_settings({key: value})


def basics() -> dict[str, Any]:
    """Return for programs what a new box may be told."""
    return {key: {"means": means, "needed": key in _NEEDED, "secret": key in SECRETS} for key, means in BASICS.items()}


def setting_names(*, provisioned: bool, interfaces: Iterable[str] = ()) -> list[str]:
    """Return what can be set, basics first, and last what can be set of each of the `interfaces`."""
    import dataclasses

    tables = dataclasses.asdict(Config(server=ServerConfig(name=_SOME_NAME)))
    dotted = [f"{section}.{name}" for section, table in tables.items() for name in table if section != "server"]
    if names := list(interfaces):
        from relay.box.network_addressing import KEYS

        dotted += [f"{NETWORK}{name}.{key}" for name in names for key in KEYS]
    return dotted if provisioned else [*BASICS, *dotted]
