"""The one file with the target's secrets: what it may hold, and who may read it.

Either lines of `name = value` (`#` begins a comment), or a NATS `.creds` file as nsc writes it. Nothing of it is ever
logged or shown.
"""

import re
import stat
from pathlib import Path

from relay.base.errors import ConfigError
from relay.base.limits import MAX_CREDENTIALS_BYTES
from relay.transport.nats_client import Login
from relay.transport.wire.nkeys import parse_seed
from relay.transport.wire.sigv4 import AccessKey

_NATS_NAMES = frozenset(("user", "password", "token", "seed"))
_S3_NAMES = frozenset(("access_key_id", "secret_access_key", "session_token"))
_BLOCK = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s+([\w.=-]+)\s+-{3,}END")


def read_login(path: Path | None) -> Login:
    """Return the NATS login in a credentials file; without a file nobody is asked for.

    Raises:
        ConfigError: the file cannot be read, is open to others, or holds something else.
    """
    if path is None:
        return Login()
    text = _read(path)
    blocks = dict(_BLOCK.findall(text))
    if blocks:
        if set(blocks) != {"NATS USER JWT", "USER NKEY SEED"}:
            raise ConfigError(f"{path} is not a NATS credentials file")
        return Login(jwt=blocks["NATS USER JWT"], key=parse_seed(blocks["USER NKEY SEED"]))
    values = _parse(path, text, _NATS_NAMES)
    given = values.keys()
    if given not in ({"user", "password"}, {"token"}, {"seed"}):
        raise ConfigError(f"{path} holds user and password, or token, or seed; nothing else and not several of them")
    if "seed" in values:
        return Login(key=parse_seed(values["seed"]))
    return Login(user=values.get("user", ""), password=values.get("password", ""), token=values.get("token", ""))


def read_access_key(path: Path | None) -> AccessKey:
    """Return the access key in a credentials file, with the names that Amazon's own file has too.

    Raises:
        ConfigError: there is no file, or as `read_login`.
    """
    if path is None:
        raise ConfigError("an s3:// target needs standby.credentials_file")
    lines = _read(path).replace("[default]\n", "")
    values = _parse(path, re.sub(r"(?m)^\s*aws_", "", lines), _S3_NAMES)
    if not values.keys() >= {"access_key_id", "secret_access_key"}:
        raise ConfigError(f"{path} needs access_key_id and secret_access_key")
    return AccessKey(values["access_key_id"], values["secret_access_key"], values.get("session_token", ""))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(path.stat().st_mode) & 0o007:
                raise ConfigError(f"{path} can be read by everybody: chmod 600 it")
            content = file.read(MAX_CREDENTIALS_BYTES + 1)
        if len(content) > MAX_CREDENTIALS_BYTES:
            raise ConfigError(f"{path} has more than {MAX_CREDENTIALS_BYTES} bytes")
        return content.decode("ascii")
    except OSError as error:
        raise ConfigError(f"the credentials file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} holds what is no ASCII text") from None


def _parse(path: Path, text: str, known: frozenset[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in stripped.partition("="))
        # The line itself may be a secret: only its number is shown.
        if not equals or not value or name not in known or name in values:
            raise ConfigError(f"line {number} of {path} is none of: {', '.join(sorted(known))} = value")
        values[name] = value
    return values
