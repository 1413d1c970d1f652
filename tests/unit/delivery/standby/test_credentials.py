from pathlib import Path

import pytest

from relay.base.errors import ConfigError
from relay.base.limits import MAX_CREDENTIALS_BYTES
from relay.delivery.standby.credentials import read_access_key, read_login
from relay.transport.nats_client import Login
from relay.transport.wire.nkeys import parse_seed

SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
CREDS = f"""-----BEGIN NATS USER JWT-----
eyJ0.eyJq.c2ln
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.

-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("# the NAS\nuser = anna\n password=with = in it\n", Login(user="anna", password="with = in it")),
        ("token = t0", Login(token="t0")),
        (f"seed = {SEED}", Login(key=parse_seed(SEED))),
        (CREDS, Login(key=parse_seed(SEED), jwt="eyJ0.eyJq.c2ln")),
    ],
)
def test_every_way_to_prove_oneself_to_nats(path: Path, text: str, login: Login) -> None:
    path.write_text(text)
    assert read_login(path) == login


def test_without_a_file_nats_is_told_nothing_and_s3_is_not_asked() -> None:
    assert read_login(None) == Login()
    with pytest.raises(ConfigError, match="credentials_file"):
        read_access_key(None)


@pytest.mark.parametrize("start", ["", "[default]\n"])
@pytest.mark.parametrize("prefix", ["", "aws_"])
def test_access_keys_also_in_amazons_own_form(path: Path, start: str, prefix: str) -> None:
    path.write_text(f"{start}{prefix}access_key_id = K\n{prefix}secret_access_key = S/+\n")
    access = read_access_key(path)
    assert (access.key_id, access.secret, access.session_token) == ("K", "S/+", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user = anna",
        "user = anna\npassword = hush\ntoken = hush",
        "hush",
        "password = hush\npassword = hush",
        "seed = hush",
        "token =",
        "hush\u00e4",
        "x" * (MAX_CREDENTIALS_BYTES + 1),
        CREDS.replace("USER NKEY SEED", "OPERATOR NKEY SEED"),
    ],
)
def test_nonsense_is_refused_without_being_shown(path: Path, text: str) -> None:
    path.write_text(text)
    for read in (read_login, read_access_key):
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert "hush" not in str(caught.value)
        assert SEED not in str(caught.value)


def test_a_file_open_to_everybody_and_a_missing_one_are_refused(path: Path) -> None:
    path.write_text("token = t")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="everybody"):
        read_login(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_login(path.with_name("gone"))
