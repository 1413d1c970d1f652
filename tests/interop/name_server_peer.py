"""A real name server that takes signed updates, on loopback."""

import os
import subprocess
from pathlib import Path

import dns.message
import dns.query

from relay.cli.bench.servers import free_port
from tests.interop.listening_process import ListeningProcess, wait_for_port
from tests.interop.peer_environments import name_server
from tests.interop.waiting import wait_until

KEY = 'key "box" {\n\talgorithm hmac-sha256;\n\tsecret "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";\n};\n'
_ZONE = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"


class NameServer(ListeningProcess):
    """BIND with the zone `example.test`; a context manager that starts and ends it.

    The key may change the addresses of `box`, and texts where `_acme-challenge.box` leads to: at `box.acme`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.key_file = folder / "box.key"
        self.key_file.write_text(KEY)
        alias = "_acme-challenge.box CNAME box.acme"
        (folder / "example.test").write_text(f"{_ZONE}box A 127.0.0.1\n{alias}\n")
        # Without recursion nobody but us is ever asked.
        (folder / "named.conf").write_text(
            f'{KEY}options {{ directory "{folder}"; listen-on port {self.port} {{ 127.0.0.1; }}; '
            "listen-on-v6 { none; }; pid-file none; session-keyfile none; recursion no; dnssec-validation no; };\n"
            "controls { };\n"
            'zone "example.test" { type primary; file "example.test"; update-policy { '
            "grant box name box.example.test. A AAAA; grant box name box.acme.example.test. TXT; }; };\n"
        )

    def start(self) -> None:
        """Start, and wait until it answers."""
        program, libraries = name_server()
        environment = {**os.environ, **({"LD_LIBRARY_PATH": libraries} if libraries else {})}
        line = [str(program), "-g", "-n", "1", "-c", str(self._folder / "named.conf")]
        with (self._folder / "log").open("ab") as out:
            self.process = subprocess.Popen(line, stdout=out, stderr=out, env=environment)
        wait_for_port(self.port, self.process)
        wait_until(lambda: self.ask("example.test", "SOA"))

    def ask(self, name: str, kind: str) -> set[str]:
        """Return the records of a name as text."""
        answer = dns.query.tcp(dns.message.make_query(name, kind), "127.0.0.1", port=self.port, timeout=5)
        return {record.to_text() for records in answer.answer for record in records}
