import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.core.matrix import unpadded_base64


# Matrix specification, Appendices, "Unpadded Base64".
@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", ""),
        ("f", "Zg"),
        ("fo", "Zm8"),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg"),
        ("fooba", "Zm9vYmE"),
        ("foobar", "Zm9vYmFy"),
    ],
)
def test_the_examples_of_the_specification_come_out(data: str, text: str) -> None:
    assert unpadded_base64.encode(data.encode()) == text
    assert unpadded_base64.decode(text) == data.encode()


@given(data=st.binary(max_size=70))
def test_both_alphabets_with_and_without_padding_read_back(data: bytes) -> None:
    standard, url = unpadded_base64.encode(data), unpadded_base64.encode_url(data)
    padding = "=" * (-len(standard) % 4)
    assert {unpadded_base64.decode(text) for text in (standard, url, standard + padding)} == {data}
    assert not set(url) & set("+/=")


@pytest.mark.parametrize("text", ["A", "AAAAA", "A A A", "ä", "\ud800", "AA\n", "A=A"])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        unpadded_base64.decode(text)
