"""How certificate authorities say what went wrong (RFC 8555, section 6.7)."""

from relay.base.errors import Fault, RelayError

_PREFIX = "urn:ietf:params:acme:error:"
_MOST_DETAIL = 300


class AcmeError(RelayError):
    """No certificate this time.

    Attributes:
        kind: what went wrong, the last part of an ACME error type where the authority said it ("rateLimited").
        about: the identifier it is about, empty where it is about none.
    """

    code = "certificate.refused"
    fault = Fault.USER
    retryable = True

    def __init__(self, kind: str, detail: str, *, about: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.kind = kind
        self.about = about


def parse_problem(
    problem: object, *, retry_after_s: float | None = None, about: str = "", otherwise: str = "refused"
) -> AcmeError:
    """Return the error that a problem document (RFC 7807, RFC 8555 section 6.7) describes, the first sub-problem's.

    Args:
        problem: the document as JSON values, or what is there in its place.
        retry_after_s: when to ask again, where that was said.
        about: the identifier that it is about, where the document does not say.
        otherwise: its kind, where the document has none of ACME's.
    """
    fields = problem if isinstance(problem, dict) else {}
    inner = fields.get("subproblems")
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        fields = inner[0]
        identifier = fields.get("identifier")
        about = str(identifier.get("value", "")) if isinstance(identifier, dict) else about
    kind = str(fields.get("type", "")).removeprefix(_PREFIX)
    detail = str(fields.get("detail", "the authority gave no reason"))
    plain = "".join(letter if letter.isprintable() else " " for letter in detail)[:_MOST_DETAIL]
    return AcmeError(kind if kind.isalnum() else otherwise, plain, about=about, retry_after_s=retry_after_s)
