"""What an S3-compatible store answers in XML: lists of keys, and errors.

Source: Amazon S3 API Reference, ListObjectsV2 and "Error Responses". A document type is refused, and with it every
entity that could grow.
"""

import dataclasses
from xml.parsers import expat

from relay.base.errors import UnreachableError

_MAX_DEPTH = 8


class ListingError(UnreachableError):
    """The store answered something that is no list of objects."""

    code = "standby.listing_malformed"


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """One page of keys.

    Attributes:
        folders: what keys have in common up to the delimiter asked for.
        more: whether another page follows.
    """

    keys: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    more: bool = False


def read_listing(document: bytes) -> Listing:
    """Return the page in a ListObjectsV2 answer.

    Raises:
        ListingError: it is none.
    """
    texts = _read(document)
    if not document or not any(path[:1] == ("ListBucketResult",) for path, _ in texts):
        raise ListingError("the store answered something that is no list of objects")
    keys = [text for path, text in texts if path[1:] == ("Contents", "Key")]
    folders = [text for path, text in texts if path[1:] == ("CommonPrefixes", "Prefix")]
    more = any(text == "true" for path, text in texts if path[1:] == ("IsTruncated",))
    if more and not (keys or folders):
        raise ListingError("the store says that there is more and gives nothing")
    return Listing(tuple(keys), tuple(folders), more)


def read_error(document: bytes) -> str:
    """Return an error answer's code and message in one short line, empty where there is none."""
    try:
        texts = _read(document[:16_384])
    except ListingError:
        return ""
    said = [text for path, text in texts if path[-1:] in (("Code",), ("Message",))]
    return " ".join(" ".join(said).split())[:200]


def _read(document: bytes) -> list[tuple[tuple[str, ...], str]]:
    """Return (names of the elements down to it, text) of every element that holds no others."""
    found: list[tuple[tuple[str, ...], str]] = []
    path: list[str] = []
    pieces: list[str] = []

    def begin(name: str, _attributes: dict[str, str]) -> None:
        if len(path) >= _MAX_DEPTH:
            raise ListingError("the store answered something too deep")
        path.append(name.rpartition(":")[2])
        pieces.clear()

    def end(_name: str) -> None:
        found.append((tuple(path), "".join(pieces)))
        pieces.clear()
        path.pop()

    def refuse(*_declaration: object) -> None:
        raise ListingError("the store answered a document with a type of its own")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = pieces.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(document, True)  # noqa: FBT003 - how expat is told that this is all
    except expat.ExpatError:
        raise ListingError("the store answered something that is no XML") from None
    return found
