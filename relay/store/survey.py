"""What the files of a state folder say of themselves without any key: headers, sizes, counts; no content."""

import dataclasses
from pathlib import Path

from relay.store.files import FileLayer
from relay.store.frame import BLOCK_BYTES, HEADER_BYTES, read_header
from relay.store.root_page import page_format
from relay.store.segments import ROOT_NAMES, read_pages


@dataclasses.dataclass(frozen=True, slots=True)
class SegmentFacts:
    """One segment file.

    Attributes:
        frames: how many blocks begin like a frame; nothing is known of what is in them.
        unreadable: how many blocks the card refuses to read.
        use: the newest use of the file, 0 where it was never used.
        first: the first commit of that use.
        last: the last one.
    """

    name: str
    size_bytes: int
    frames: int
    unreadable: int
    use: int
    first: int
    last: int


def survey_segments(files: FileLayer, folder: Path) -> list[SegmentFacts]:
    """Return the facts of each segment file in the journal's folder, by name; empty where there is none."""
    names = sorted(name for name in files.names(folder) if name.startswith("segment-"))
    return [_survey(files, folder / name) for name in names]


def survey_roots(files: FileLayer, folder: Path) -> dict[str, str]:
    """Return what each root page says without its key: its format, or that it is none."""
    said = {}
    for name, page in zip(ROOT_NAMES, read_pages(files, folder), strict=True):
        found = page_format(page)
        said[name] = f"format {found}" if found is not None else "no root page" if page else "missing or unreadable"
    return said


def _survey(files: FileLayer, path: Path) -> SegmentFacts:
    file = files.open_to_read(path)
    try:
        size_bytes, headers, unreadable, offset = file.size_bytes(), [], 0, 0
        while offset < size_bytes:
            try:
                header = read_header(file.read(HEADER_BYTES, offset))
            except OSError:
                header, unreadable = None, unreadable + 1
            if header is not None:
                headers.append(header)
            offset += header.total_bytes if header is not None else BLOCK_BYTES
    finally:
        file.close()
    use = max((header.use for header in headers), default=0)
    commits = [header.sequence for header in headers if header.use == use]
    return SegmentFacts(
        path.name, size_bytes, len(headers), unreadable, use, min(commits, default=0), max(commits, default=0)
    )
