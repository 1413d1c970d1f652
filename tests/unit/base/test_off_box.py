import pytest

from relay.base.errors import ConfigError
from relay.base.off_box import BucketPlace, NatsPlace, parse_place


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("nats://nas.home", NatsPlace("nas.home", 4222, False, "doorstep")),
        ("nats://[fd00::1]:4333/boxes", NatsPlace("fd00::1", 4333, False, "boxes")),
        ("tls://nats.example:443/a_b-c/", NatsPlace("nats.example", 443, True, "a_b-c")),
        ("s3://family", BucketPlace("family", "", "", "us-east-1")),
        ("s3://family/boxes/anna", BucketPlace("family", "boxes/anna", "", "us-east-1")),
    ],
)
def test_places_have_names(target: str, place: NatsPlace | BucketPlace) -> None:
    assert parse_place(target) == place


def test_an_s3_compatible_store_is_at_an_endpoint() -> None:
    place = parse_place("s3://family/a", endpoint="https://store.home:9000/", region="eu")
    assert place == BucketPlace("family", "a", "https://store.home:9000", "eu")


@pytest.mark.parametrize(
    "target",
    [
        "",
        "nats://",
        "ftp://a/b",
        "nats://host/a.b",
        "nats://host/a/b",
        "nats://host:99999/a",
        "nats://host/a?b=c",
        "s3://",
        "s3://UPPER",
        "s3://ab:80/c",
        "s3://family/../other",
        "s3://family/a b",
        "nats://anna:secret@host",
        "nats://[::1",
    ],
)
def test_nonsense_is_refused(target: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_place(target)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["store.home", "ftp://store", "https://", "https://store/path", "https://[store"])
def test_an_endpoint_is_a_web_address_without_a_path(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        parse_place("s3://family", endpoint=endpoint)


def test_an_endpoint_belongs_to_s3() -> None:
    with pytest.raises(ConfigError):
        parse_place("nats://host", endpoint="https://store")
