import pytest

from lightning_layerscope.json_files import read_json


def test_a_byte_order_mark_is_no_content(tmp_path):
    (tmp_path / "file.json").write_text('{"é": 1}', encoding="utf-8-sig")
    assert read_json(tmp_path / "file.json") == {"é": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', "file.json: not valid JSON"),
        ('{"a": "é"}'.encode("cp1252"), "file.json: not UTF-8"),
        (b"[" * 200_000, "file.json: JSON that is nested too deeply"),
        (b"1" * 5000, "file.json: not valid JSON .*digits"),
    ],
)
def test_every_fault_is_a_value_error_that_names_the_file(tmp_path, content, message):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "file.json")
