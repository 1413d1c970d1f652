"""The examples of the Amazon S3 API Reference: the numbers are Amazon's, the requests are described there."""

import pytest

from relay.transport.wire.sigv4 import AccessKey, encode_path, encode_query, sign

ACCESS = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST = ("host", "examplebucket.s3.amazonaws.com")
MOMENT = "20130524T000000Z"


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {},
            [("Range", "bytes=0-9")],
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            {},
            [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "/", {"lifecycle": ""}, [], b"", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET",
            "/",
            {"prefix": "J", "max-keys": "2"},
            [],
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_amazons_examples_have_amazons_signatures(
    method: str, path: str, query: dict[str, str], headers: list[tuple[str, str]], body: bytes, signature: str
) -> None:
    signed = dict(
        sign(ACCESS, method, path, query=query, headers=[HOST, *headers], body=body, region="us-east-1", moment=MOMENT)
    )
    assert signed["authorization"].endswith(f",Signature={signature}")
    assert "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request," in signed["authorization"]
    assert signed["x-amz-date"] == MOMENT


def test_the_secret_stands_in_no_header_and_in_no_repr() -> None:
    signed = sign(ACCESS, "GET", "/", query={}, headers=[HOST], body=b"", region="us-east-1", moment=MOMENT)
    assert ACCESS.secret not in repr((signed, ACCESS))


def test_a_session_token_is_sent_and_signed() -> None:
    access = AccessKey(ACCESS.key_id, ACCESS.secret, "for an hour")
    signed = dict(sign(access, "GET", "/", query={}, headers=[HOST], body=b"", region="us-east-1", moment=MOMENT))
    assert signed["x-amz-security-token"] == "for an hour"
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token," in signed["authorization"]


def test_only_unreserved_bytes_stand_as_they_are() -> None:
    assert encode_path("/a b/c+d/~._-\u00e4*") == "/a%20b/c%2Bd/~._-%C3%A4%2A"
    assert encode_query({"b": "1/2", "a": "", "c d": "="}) == "a=&b=1%2F2&c%20d=%3D"
