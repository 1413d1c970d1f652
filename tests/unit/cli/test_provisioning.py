import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.base.config import load
from relay.base.errors import ConfigError, ConflictError, InvalidInputError
from relay.cli import own_ca, provisioning
from relay.cli.files import provisioned, write_whole
from relay.cli.provisioning import ProvisionPlan, plan_config, provision, read_password
from tests.fakes.house import MemoryHouse

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
PLAIN = {"federation.tls": "false", "federation.listen": "127.0.0.1:0"}


def plan(**fields: Any) -> ProvisionPlan:
    return ProvisionPlan(**{"name": "box.example", "settings": PLAIN, **fields})


def test_a_new_box_has_its_settings_and_its_owner(tmp_path: Path) -> None:
    house = MemoryHouse()
    made = provision(tmp_path / "state", plan(owner="anna", password="secret"), house.open, NOW)
    assert made.owner == "@anna:box.example"
    assert made.fingerprint is None
    assert load(tmp_path / "state") == made.config
    assert house.people.people[made.owner].admin
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [
        "journal",
        "relay.toml",
        "relay.toml.before",
        "root.key",
    ]


def test_the_password_is_in_no_file(tmp_path: Path) -> None:
    provision(tmp_path, plan(owner="anna", password="swordfish"), MemoryHouse().open, NOW)
    assert not any(b"swordfish" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "swordfish" not in repr(plan(owner="anna", password="swordfish"))


def test_without_a_certificate_the_box_makes_its_own_authority(tmp_path: Path) -> None:
    made = provision(tmp_path, ProvisionPlan(name="box.example"), MemoryHouse().open, NOW)
    assert made.fingerprint is not None
    assert len(made.fingerprint) == 32 * 3 - 1
    assert (tmp_path / "tls" / "cert.pem").exists()


def test_a_given_certificate_is_used_where_it_lies(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("box.example")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    given = ProvisionPlan(name="box.example", tls_cert=str(tmp_path / "cert.pem"), tls_key=str(tmp_path / "key.pem"))
    made = provision(tmp_path / "state", given, MemoryHouse().open, NOW)
    assert made.fingerprint is None
    assert made.config.tls.cert == str(tmp_path / "cert.pem")


def test_a_box_is_never_provisioned_twice(tmp_path: Path) -> None:
    provision(tmp_path, plan(), MemoryHouse().open, NOW)
    with pytest.raises(ConflictError, match="can never change"):
        provision(tmp_path, plan(name="other.example"), MemoryHouse().open, NOW)
    assert load(tmp_path).server.name == "box.example"


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ConflictError, match=r"thesis\.txt"):
        provision(tmp_path, plan(), MemoryHouse().open, NOW)
    assert (tmp_path / "thesis.txt").exists()


def test_what_was_cut_short_is_no_box_and_the_next_attempt_starts_afresh(tmp_path: Path) -> None:
    house = MemoryHouse()
    house.fails = True
    with pytest.raises(OSError, match="No space"):
        provision(tmp_path, plan(), house.open, NOW)
    assert not provisioned(tmp_path)
    house.fails = False
    provision(tmp_path, plan(), house.open, NOW)
    assert provisioned(tmp_path)


class PowerCutError(Exception):
    """The power went."""


def test_wherever_the_power_is_cut_the_next_attempt_makes_a_whole_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = 0
    while True:
        folder, writes = tmp_path / str(cuts), iter(range(cuts))

        def write_until_cut(path: Path, data: bytes, *, mode: int = 0o600, left: Iterator[int] = writes) -> None:
            if next(left, None) is None:
                raise PowerCutError
            write_whole(path, data, mode=mode)

        for room in (provisioning, own_ca):
            monkeypatch.setattr(room, "write_whole", write_until_cut)
        try:
            provision(folder, ProvisionPlan(name="box.example"), MemoryHouse().open, NOW)
            break
        except PowerCutError:
            assert not provisioned(folder)
        monkeypatch.undo()
        made = provision(folder, ProvisionPlan(name="box.example"), MemoryHouse().open, NOW)
        assert load(folder) == made.config
        assert not (folder / "provisioning").exists()
        cuts += 1
    assert cuts == 8


def test_files_named_in_the_plan_survive_an_attempt_cut_short(tmp_path: Path) -> None:
    (tmp_path / "provisioning").touch()
    (tmp_path / "my.key").write_bytes(b"k" * 32)
    (tmp_path / "rubbish").touch()
    provision(tmp_path, plan(key_file=str(tmp_path / "my.key")), MemoryHouse().open, NOW)
    assert (tmp_path / "my.key").exists()
    assert not (tmp_path / "rubbish").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "no spaces"}, "server name"),
        ({"profile": "toaster"}, "no profile 'toaster'"),
        ({"owner": "anna"}, "a name and a password"),
        ({"owner": "Anna", "password": "x"}, "user name"),
        ({"tls_cert": "x"}, "needs its key"),
        ({"tls_cert": "/nowhere/x", "tls_key": "/nowhere/y"}, "cannot be used"),
        ({"tls_ca": "/nowhere/x"}, "cannot be used"),
        ({"federation": "x", "settings": {}}, "HOST:PORT"),
        ({"settings": {"nothing.here": "1"}}, "not a setting"),
        ({"settings": {"server.name": "x"}}, "--name"),
        ({"settings": {"federation.tls": "false"}}, "not loopback"),
        ({"client": "0.0.0.0:80", "settings": {"client.tls": "false"}}, "not loopback"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_written(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, InvalidInputError), match=message):
        provision(tmp_path / "state", plan(**fields), MemoryHouse().open, NOW)
    assert not (tmp_path / "state").exists()


def test_a_client_door_beyond_this_machine_gets_tls(tmp_path: Path) -> None:
    assert plan_config(plan(client="[::]:443"), tmp_path).client.tls
    assert not plan_config(plan(client="[::1]:8008"), tmp_path).client.tls


def test_the_desk_profile_reaches_private_peers(tmp_path: Path) -> None:
    assert plan_config(plan(), tmp_path).federation.allow_private_peers


def test_a_password_file_gives_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"correct horse\r\nsecond line\n")
    assert read_password(tmp_path / "p") == "correct horse"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\n", None])
def test_a_password_file_without_a_password_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "p").write_bytes(content)
    with pytest.raises(InvalidInputError, match="password file"):
        read_password(tmp_path / "p")


def test_an_authority_is_named_by_a_word_or_its_address_and_its_terms_are_agreed_to(tmp_path: Path) -> None:
    config = plan_config(ProvisionPlan(name="box.example", acme="letsencrypt"), tmp_path)
    assert config.acme.directory == "https://acme-v02.api.letsencrypt.org/directory"
    assert config.acme.terms_agreed
    assert plan_config(ProvisionPlan(name="box.example", acme="https://ca.example/dir"), tmp_path).acme.terms_agreed
    with pytest.raises(ConfigError, match="acme"):
        plan_config(ProvisionPlan(name="box.example", acme="lets encrypt"), tmp_path)
    assert not plan_config(ProvisionPlan(name="box.example"), tmp_path).acme.terms_agreed
