from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.config import StoreConfig
from relay.store.root_page import PAGE_BYTES, Root, SegmentUse, open_root, seal_root

KEY, NONCE = b"k" * 32, b"n" * 24
MOST_USES = tuple(SegmentUse(2**40 + number, number, bytes([number]) * 32) for number in range(64))
ROOT = Root(sequence=9, boot=3, floor=8192, released=77, next_use=2**41, uses=MOST_USES)


def test_a_root_with_as_many_segments_as_settings_allow_fits_one_page() -> None:
    StoreConfig(journal_segments=len(MOST_USES))
    page = seal_root(ROOT, KEY, NONCE)
    assert len(page) == PAGE_BYTES
    assert open_root(page, KEY) == ROOT


@given(place=st.integers(0, PAGE_BYTES - 1), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_makes_the_page_invalid(place: int, flip: int) -> None:
    page = bytearray(seal_root(ROOT, KEY, NONCE))
    page[place] ^= flip
    found = open_root(bytes(page), KEY)
    # Two reserved bytes are authenticated too: nothing of the page is free to change.
    assert found is None


def test_an_empty_short_or_foreign_page_is_no_root() -> None:
    assert open_root(b"", KEY) is None
    assert open_root(bytes(PAGE_BYTES), KEY) is None
    assert open_root(seal_root(ROOT, KEY, NONCE), b"l" * 32) is None
