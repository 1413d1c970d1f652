"""An invitation in words and as a QR code: an address to look at, and the same to scan."""

import io
from typing import Any

from relay.base.config import Config, split_address


def public_url(config: Config, listening: str = "") -> str:
    """Return where apps of the family find the box.

    Args:
        config: its settings.
        listening: `HOST:PORT` of the running client door, for a port that was chosen at start.
    """
    if config.client.public_url:
        return config.client.public_url.rstrip("/")
    host, port = split_address(config.client.listen)
    if listening:
        port = split_address(listening)[1]
    if host in ("", "::", "0.0.0.0"):  # noqa: S104 - compared, not bound
        host = config.server.name.partition(":")[0] if not config.server.name.startswith("[") else "localhost"
    if ":" in host:
        host = f"[{host}]"
    scheme, usual = ("https", 443) if config.client.tls else ("http", 80)
    return f"{scheme}://{host}" + (f":{port}" if port != usual else "")


def describe_address(url: str) -> dict[str, Any]:
    """Return the address of the box as `url`, `qr` and `qr_ascii`; see `draw_qr`."""
    return {"url": url, **draw_qr(url)}


def describe_invitation(url: str, token: str) -> dict[str, Any]:
    """Return an invitation as `url`, `qr` and `qr_ascii`; see `draw_qr`."""
    # Behind the # it stays in the browser: no server log ever holds the token.
    return describe_address(f"{url}/#invite={token}")


_COLUMNS = 79


def draw_qr(text: str) -> dict[str, list[str]]:
    """Return `text` as a QR code drawn twice: in half blocks, and for lines that carry ASCII only."""
    import segno

    code = segno.make(text, error="l", micro=False)
    out = io.StringIO()
    code.terminal(out=out, border=2, compact=True)
    # Two columns a module: a quiet zone of one is little, and more than a line that wraps.
    border = 2 if 2 * code.symbol_size(border=2)[0] <= _COLUMNS else 1
    rows = ["".join("  " if dark else "##" for dark in row) for row in code.matrix_iter(border=border)]
    fits = all(len(row) <= _COLUMNS for row in rows)
    return {"qr": out.getvalue().splitlines(), "qr_ascii": rows if fits else []}
