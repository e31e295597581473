import pytest

from seqjax.storage.strict_json import parse_object, show


def test_an_object_is_read_from_text_and_bytes():
    value = {"a": [1, 2.5, None, True], "ü": {"b": "c"}}
    text = '{"a": [1, 2.5, null, true], "ü": {"b": "c"}}'
    for form in (text, text.encode(), b"\xef\xbb\xbf" + text.encode()):
        assert parse_object(form) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable as JSON: Expecting value"),
        ('{"a": 1} x', "not readable as JSON: Extra data"),
        (b'{\n"a": "\xfc"}', "line 2 is not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": {"b": 1, "b": 1}}', "the key 'b' stands there twice"),
        ('{"a": 1e999}', "'1e999' is not a finite number"),
        ('{"a": NaN}', "'NaN' is not a finite number"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ("[1]", r"must be a JSON object \{...\}, not \[1\]"),
        ('"' + "x" * 9999 + '"', "must be a JSON object"),
    ],
)
def test_anything_else_is_a_sentence(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_object(text)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_value_of_any_size_is_shown_in_short():
    assert len(show({"k" * 9999: ["v\n" * 9999] * 9999})) < 2000
