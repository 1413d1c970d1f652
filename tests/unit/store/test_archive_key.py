import pytest

from relay.base.errors import ConfigError
from relay.store.archive_key import FILE, PASSPHRASE, KeyParameters, Secret, check_of


def test_no_two_archives_of_one_key_file_share_a_key() -> None:
    secret = Secret.from_file(b"k" * 32)
    one, other = secret.fresh(), secret.fresh()
    assert one.key != other.key
    assert secret.key(one.parameters) == one.key
    assert one.parameters.check == check_of(one.key)


def test_parameters_come_back_from_their_fixed_form() -> None:
    parameters = KeyParameters(PASSPHRASE, 4, 65_536, b"s" * 16, b"c" * 8)
    assert KeyParameters.unpack(parameters.pack()) == parameters


@pytest.mark.parametrize(("kind", "passes", "memory_kib"), [(3, 0, 0), (FILE, 17, 0), (PASSPHRASE, 4, 1 << 30)])
def test_parameters_that_would_cost_too_much_are_refused(kind: int, passes: int, memory_kib: int) -> None:
    with pytest.raises(ValueError, match="parameters"):
        KeyParameters.unpack(KeyParameters(kind, passes, memory_kib, b"s" * 16).pack())


def test_a_backup_says_which_kind_of_secret_it_wants() -> None:
    parameters = KeyParameters(PASSPHRASE, 1, 8, b"s" * 16)
    with pytest.raises(ConfigError, match="a passphrase"):
        Secret.from_file(b"k" * 32).key(parameters)


def test_a_passphrase_leads_to_the_key_by_argon2id() -> None:
    parameters = KeyParameters(PASSPHRASE, 1, 8, b"s" * 16)
    secret = Secret.from_passphrase(b"correct horse")
    assert len(secret.key(parameters)) == 32
    assert secret.key(parameters) != Secret.from_passphrase(b"correct horsf").key(parameters)


def test_secrets_too_short_to_protect_anything_are_refused() -> None:
    with pytest.raises(ConfigError, match="31 bytes"):
        Secret.from_file(b"k" * 31)
    with pytest.raises(ConfigError, match="7 bytes"):
        Secret.from_passphrase(b"1234567")
