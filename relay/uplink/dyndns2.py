"""The dyndns2 protocol: what is asked, and what the answer means for asking again. Pure.

Source: Dyn's Remote Access API, "Perform Update" and "Return Codes" (help.dyn.com/perform-update.html,
help.dyn.com/return-codes.html), and No-IP's for two addresses in one request (noip.com/integrate/request).
"""

import base64
import dataclasses
from collections.abc import Sequence
from urllib.parse import quote

_HOUR_S = 3600.0
# "Return Codes": after 911 and dnserr a client waits for half an hour at least.
_BROKEN_S = 1800.0

_FATAL = {
    "badauth": "the provider does not know this user with this password",
    "!donator": "the provider wants to be paid for what was asked",
    "notfqdn": "the provider wants a whole host name",
    "nohost": "the provider has no such name for this user",
    "!yours": "the name belongs to another user of the provider",
    "numhost": "the provider takes no such list of names",
    "abuse": "the provider has blocked the name: it was updated too often",
    "badagent": "the provider has blocked this program",
    "badsys": "the provider does not understand the request",
    "disabled": "the provider has disabled the account",
}
_BROKEN = {
    "911": "the provider has a fault of its own",
    "dnserr": "the provider's name servers have a fault",
    "servererror": "the provider has a fault of its own",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means.

    Attributes:
        code: the return code.
        detail: what is wrong, empty where nothing is.
        fatal: asking the same again is of no use, and held against us.
        wait_s: not to be asked before, in seconds.
        address: what the provider says the name has now, empty where it does not say.
    """

    code: str
    detail: str = ""
    fatal: bool = False
    wait_s: float = 0.0
    address: str = ""

    @property
    def good(self) -> bool:
        """Whether the name is right now."""
        return not self.detail


def update_url(server: str, name: str, addresses: Sequence[str]) -> str:
    """Return the address to GET; without `addresses` the provider takes the one that the request comes from."""
    joint = "&" if "?" in server else "?"
    where = f"&myip={quote(','.join(addresses), safe=',:')}" if addresses else ""
    return f"{server}{joint}hostname={quote(name, safe='')}{where}"


def authorization(user: str, password: str) -> dict[str, str]:
    """Return the header that says who asks (RFC 7617)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode('ascii')}"}


def judge(status: int, body: bytes) -> Verdict:
    """Return what an answer means."""
    words = body[:1000].decode("utf-8", "replace").split()
    code = words[0].lower() if words else ""
    address = words[1] if len(words) > 1 else ""
    if code == "ko" or (status in (401, 403) and code not in _FATAL):
        code = "badauth"
    elif code == "good" and address.startswith("127."):
        # "Return Codes", badagent: so the provider answers those that it does not listen to.
        code = "badagent"
    if code in ("good", "nochg", "ok"):
        return Verdict(code, address=address)
    if code in _FATAL:
        return Verdict(code, _FATAL[code], fatal=True)
    if code in _BROKEN:
        return Verdict(code, _BROKEN[code], wait_s=_BROKEN_S)
    if status == 429 or status >= 500:
        return Verdict(str(status), f"the provider answered {status}", wait_s=_BROKEN_S)
    return Verdict("unknown", f"the provider answered {status} with something that is no return code", wait_s=_HOUR_S)
