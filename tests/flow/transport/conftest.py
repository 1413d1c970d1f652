from pathlib import Path

import pytest

from tests.fakes.certificates import write_loopback_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ca.pem, and cert.pem and key.pem for localhost and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    write_loopback_certificates(folder)
    return folder
