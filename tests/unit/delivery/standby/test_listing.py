import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.standby.listing import Listing, ListingError, read_error, read_listing

PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Name>family</Name><Prefix>a/</Prefix><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>
  <Contents><Key>a/1&amp;2</Key><Size>434234</Size><Owner><ID>x</ID></Owner></Contents>
  <Contents><Key>a/3</Key></Contents>
  <CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes>
</ListBucketResult>"""
EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


def test_a_page_of_keys_is_read() -> None:
    assert read_listing(PAGE) == Listing(("a/1&2", "a/3"), ("a/b/",), more=True)
    assert read_listing(EMPTY) == Listing()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no XML",
        b"<html/>",
        b"<Error><Code>AccessDenied</Code></Error>",
        PAGE[:-5],
        EMPTY.replace(b"false", b"true"),
        b"<a>" * 100 + b"</a>" * 100,
        b'<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>',
    ],
)
def test_what_is_no_list_is_told_apart(document: bytes) -> None:
    with pytest.raises(ListingError):
        read_listing(document)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_no_list(document: bytes) -> None:
    with pytest.raises(ListingError):
        read_listing(document)
    read_error(document)


def test_an_error_says_code_and_message_in_one_line() -> None:
    said = b"<Error><Code>NoSuchKey</Code><Message>gone\n for  good</Message><Key>secret</Key></Error>"
    assert read_error(said) == "NoSuchKey gone for good"
    assert read_error(b"<html>") == ""
