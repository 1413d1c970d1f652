"""Certificates of an authority of the tests, as files."""

from pathlib import Path

import trustme


def write_loopback_certificates(folder: Path) -> None:
    """Write ca.pem, and cert.pem and key.pem for localhost and 127.0.0.1."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
