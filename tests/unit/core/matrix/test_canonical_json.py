import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError, NotJsonError, TooLargeError
from relay.base.limits import MAX_JSON_DEPTH, MAX_JSON_VALUES
from relay.core.matrix import canonical_json
from relay.core.matrix.canonical_json import NotCanonicalError

# Matrix specification, Appendices, "Canonical JSON", "Examples".
SPEC_EXAMPLES = [
    ("{}", "{}"),
    ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
    ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
    (
        '{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe", '
        '"three_pids": [{"medium": "email", "address": "john.doe@example.org"}, '
        '{"medium": "msisdn", "address": "123456789"}]}}}',
        '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":'
        '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},'
        '"success":true}}',
    ),
    ('{"a": "日本語"}', '{"a":"日本語"}'),
    ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
    ('{"a": "\\u65E5"}', '{"a":"日"}'),
    ('{"a": null}', '{"a":null}'),
    ('{"a": -0}', '{"a":0}'),
]

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(("given_text", "canonical"), SPEC_EXAMPLES)
def test_the_examples_of_the_specification_come_out(given_text: str, canonical: str) -> None:
    assert canonical_json.encode(canonical_json.parse(given_text.encode())) == canonical.encode()


@given(value=JSON)
@settings(max_examples=150)
def test_the_form_is_that_of_the_reference_code_and_reads_back_as_the_same_value(value: Any) -> None:
    reference = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    assert canonical_json.encode(value) == reference
    assert canonical_json.encode_lenient(value) == reference
    assert canonical_json.parse(reference) == value


def test_keys_are_sorted_by_code_point_and_not_by_utf_16() -> None:
    assert canonical_json.encode({"\U0001f600": 1, "\uffff": 2}) == '{"\uffff":2,"\U0001f600":1}'.encode()


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        [1.5],
        {"a": {"b": -0.0}},
        2**53,
        -(2**53),
        "\ud800",
        {"\ud800": 1},
        {1: 2},
        {"a": b"x"},
        {"a": {1, 2}},
        (1e300,),
    ],
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical_json.encode(value)


def test_the_largest_integers_pass() -> None:
    assert canonical_json.encode([2**53 - 1, -(2**53) + 1]) == b"[9007199254740991,-9007199254740991]"


def test_nesting_is_limited_when_writing_and_when_reading() -> None:
    deep: Any = 1
    for _ in range(MAX_JSON_DEPTH):
        deep = [deep]
    text = canonical_json.encode(deep)
    assert canonical_json.parse(text) == deep
    with pytest.raises(NotCanonicalError):
        canonical_json.encode([deep])
    with pytest.raises(NotCanonicalError):
        canonical_json.parse(b"[" + text + b"]")
    with pytest.raises(InvalidInputError):
        canonical_json.parse(b"[" * 100_000 + b"]" * 100_000)


def test_many_brackets_without_depth_pass() -> None:
    assert canonical_json.parse(b"[" + b"[]," * 500 + b"[]]") == [[] for _ in range(501)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1.5, "a": 2**60}, b'{"a":1152921504606846976,"b":1.5}'),
        ([1e-05, 1e16, 1.5e-07], b"[1e-05,1e+16,1.5e-07]"),
        ({"a": {"z": 0.1, "k": "\u00e9"}}, '{"a":{"k":"\u00e9","z":0.1}}'.encode()),
    ],
)
def test_the_lenient_form_writes_numbers_as_the_signing_servers_do(value: Any, text: bytes) -> None:
    assert canonical_json.encode_lenient(value) == text


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], "\ud800", {"a": b"x"}, {"a": 1.5, 2: 3}])
def test_the_lenient_form_still_is_json(value: Any) -> None:
    with pytest.raises(NotCanonicalError):
        canonical_json.encode_lenient(value)


@given(body=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()[:-1]))
@settings(max_examples=100)
def test_any_bytes_are_json_or_a_clear_error(body: bytes) -> None:
    try:
        canonical_json.parse(body)
    except NotJsonError:
        return


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**64), 10**40])
def test_large_integers_keep_their_digits_from_reading_to_the_lenient_form(number: int) -> None:
    body = b'{"a":[%d],"b":1.5}' % number
    assert canonical_json.parse(body) == {"a": [number], "b": 1.5}
    assert canonical_json.encode_lenient(canonical_json.parse(body)) == body


def test_a_number_too_long_to_be_read_is_still_json() -> None:
    assert canonical_json.parse(b'["x",1e2,0.' + b"1" * 5000 + b"]")[0] == "x"
    with pytest.raises(NotJsonError):
        canonical_json.parse(b"[" + b"1" * 5000 + b"]")


def test_a_short_text_of_very_many_values_is_refused_before_it_is_read() -> None:
    many = b"[" + b"[]," * MAX_JSON_VALUES + b"[]]"
    with pytest.raises(TooLargeError):
        canonical_json.parse(many)
    with pytest.raises(TooLargeError):
        canonical_json.parse_object(b'{"a":[1,2,3]}', 3)
    assert canonical_json.parse_object(b'{"a":[1,2,3]}', 4) == {"a": [1, 2, 3]}
    assert len(canonical_json.parse(b'"' + b"x" * MAX_JSON_VALUES * 2 + b'"')) == MAX_JSON_VALUES * 2


def test_an_object_is_asked_for() -> None:
    assert canonical_json.parse_object(b'{"a":[]}') == {"a": []}
    with pytest.raises(InvalidInputError):
        canonical_json.parse_object(b"[]")
