"""Making a box out of an empty folder: keys, certificate, owner, and last of all the settings.

`relay.toml` is the commit point: while it is absent the folder is not a box, and the next attempt starts afresh.
"""

import dataclasses
import datetime
import shutil
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from relay.admin.operator import Operator
from relay.admin.requests import AddUser
from relay.base.config import FILE_NAME, Config, ServerConfig, split_address
from relay.base.config_names import AUTHORITIES
from relay.base.errors import ConfigError, ConflictError, InvalidInputError
from relay.base.ids import UserId, make_user_id, parse_server_name, parse_user_id
from relay.base.networks import is_loopback
from relay.base.trial import BEFORE, NETWORK_BEFORE
from relay.base.trial import FILE_NAME as TRIAL
from relay.box.profile import OVERRIDE, load_profile
from relay.cli import own_ca
from relay.cli.files import provisioned, sync_folder, write_whole
from relay.cli.usual import usual

OpenHouse = Callable[[Path, Config], AbstractAsyncContextManager[Operator]]

MARKER = "provisioning"
DRAFT_FOLDER = "console"
# What may lie in a folder that is not yet a box, whose network may be set up already: the mark of an attempt cut short
# is the licence to remove the rest.
_HARMLESS = frozenset({"lost+found", DRAFT_FOLDER, MARKER, OVERRIDE, NETWORK_BEFORE, TRIAL})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProvisionPlan:
    """Everything a new box may be told; what is empty follows from the board and the folder (`relay.cli.usual`)."""

    name: str
    profile: str = ""
    owner: str = ""
    password: str = dataclasses.field(default="", repr=False)
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    federation: str = ""
    client: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    acme: str = ""
    key_file: str = ""
    passphrase: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Provisioned:
    """What came out: the settings, and the own authority's fingerprint and the owner where they were made."""

    config: Config
    fingerprint: str | None
    owner: UserId | None


def plan_config(plan: ProvisionPlan, folder: Path) -> Config:
    """Return the settings that `plan` leads to for a box in `folder`.

    Raises:
        ConfigError: a value is wrong, or plain HTTP would be offered beyond this machine.
        InvalidInputError: the server name or the owner's name is none.
    """
    chosen = usual(folder, plan.profile)
    load_profile(chosen.profile)
    if bool(plan.tls_cert) != bool(plan.tls_key):
        raise ConfigError("a certificate needs its key: give both --tls-cert and --tls-key")
    if bool(plan.owner) != bool(plan.password):
        raise ConfigError("an owner needs a name and a password")
    config = Config(server=ServerConfig(name=parse_server_name(plan.name), profile=chosen.profile))
    if plan.owner:
        make_user_id(plan.owner, config.server.name)
    settings = dict(chosen.settings)
    client = plan.client or plan.settings.get("client.listen") or chosen.client
    for key, value in (
        ("federation.listen", plan.federation or chosen.federation),
        ("client.listen", client),
        ("tls.cert", _absolute(plan.tls_cert)),
        ("tls.key", _absolute(plan.tls_key)),
        ("tls.ca", _absolute(plan.tls_ca)),
        ("acme.directory", AUTHORITIES.get(plan.acme, plan.acme)),
        # Whoever names an authority there has been told that this says yes to its terms.
        ("acme.terms_agreed", "true" if plan.acme else ""),
        ("store.key_file", _absolute(plan.key_file)),
    ):
        if value:
            settings[key] = value
    if not is_loopback(split_address(client)[0]):
        settings["client.tls"] = "true"
    if "server.name" in plan.settings:
        raise ConfigError("server.name is given by --name")
    config = config.with_settings({**settings, **plan.settings})
    if plan.passphrase and config.store.key_source != "passphrase":
        raise ConfigError("a passphrase goes with store.key_source passphrase, and only with it")
    refuse_plain_outside(config)
    return config


def refuse_plain_outside(config: Config) -> None:
    """Raise ConfigError where a door without TLS would be open beyond this machine."""
    for section, door in (("client", config.client), ("federation", config.federation)):
        # With proxies named the door is open to them and to this machine alone.
        if not door.tls and not door.behind_proxy and not is_loopback(split_address(door.listen)[0]):
            raise ConfigError(
                f"{section}.tls is false, but {door.listen} is not loopback; plain HTTP stays inside, "
                f"unless {section}.behind_proxy names the reverse proxy"
            )


def provision(folder: Path, plan: ProvisionPlan, open_house: OpenHouse, now: datetime.datetime) -> Provisioned:
    """Make `folder` a box; all of it, or nothing that counts.

    Args:
        folder: the state folder; made if absent.
        plan: what the person decided.
        open_house: opens (here: makes) the state behind the doors, given the settings.
        now: the time of day, for the certificate.

    Raises:
        ConflictError: the folder is a box already, or holds somebody else's files.
        ConfigError: as `plan_config`; or a certificate, key or CA file cannot be used.
    """
    config = plan_config(plan, folder)
    _check_tls_files(config)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if provisioned(folder):
        raise ConflictError(f"{folder} is a box already; a server name can never change")
    _clear(folder, keep=(plan.tls_cert, plan.tls_key, plan.tls_ca, plan.key_file))
    write_whole(folder / MARKER, b"")
    fingerprint = None
    if (config.federation.tls or config.client.tls) and not config.tls.cert:
        fingerprint = own_ca.make_own_ca(folder, config.server.name, now)
    import trio

    owner = trio.run(_make_owner, folder, config, plan, open_house)
    # Whoever says rollback when the settings cannot be read any more finds these.
    write_whole(folder / BEFORE, config.render().encode())
    write_whole(folder / FILE_NAME, config.render().encode())
    (folder / MARKER).unlink()
    sync_folder(folder)
    return Provisioned(config, fingerprint, owner)


async def _make_owner(folder: Path, config: Config, plan: ProvisionPlan, open_house: OpenHouse) -> UserId | None:
    async with open_house(folder, config) as operator:
        if not plan.owner:
            return None
        made = await operator.carry_out(AddUser(plan.owner, plan.password, admin=True))
        return parse_user_id(made["user"])


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else ""


def _check_tls_files(config: Config) -> None:
    try:
        if config.tls.cert:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls.cert, config.tls.key)
        if config.tls.ca:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(config.tls.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the TLS files cannot be used: {error.strerror or error}") from None


def _clear(folder: Path, *, keep: Iterable[str]) -> None:
    kept = {Path(path).resolve() for path in keep if path}
    cut_short = (folder / MARKER).exists()
    for path in sorted(folder.iterdir()):
        if path.name in _HARMLESS or any(file.is_relative_to(path.resolve()) for file in kept):
            continue
        if not cut_short:
            raise ConflictError(f"{folder} is neither empty nor a box: it holds {path.name}")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def read_password(path: Path) -> str:
    """Return the first line of a password file.

    Raises:
        InvalidInputError: it cannot be read, is empty or not UTF-8.
    """
    try:
        text = path.read_text("utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the password file cannot be read: {error}") from None
    if not text:
        raise InvalidInputError("the password file is empty")
    return text
