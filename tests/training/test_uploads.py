"""Uploads with tags: what is read, from which file, and what is refused."""

from __future__ import annotations

import json

import pytest

from excitation.data import DataError
from excitation.data._uploads import Part, find_parts, read_part
from excitation.data.symbols import make_scene, make_uploads


def rows(count):
    return [{"image": f"{i}.jpg", "user": i % 3, "tags": ["B", "a  a", "b", "", " c"]} for i in range(count)]


def write(path, lines):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def read_all(parts):
    told = []
    return [upload for part in parts for upload in read_part(part, told.append)], told


@pytest.mark.parametrize("size", [1, 7, 64, 100, 10**6])
def test_parts_of_any_size_hold_every_line_once(tmp_path, size):
    parts = find_parts([write(tmp_path / "u.jsonl", rows(20))], size)
    uploads, told = read_all(parts)
    assert [upload.image for upload in uploads] == [f"{i}.jpg" for i in range(20)]
    assert uploads[4].user == "1"
    assert uploads[0].tags == ("b", "a a", "c")
    assert not told


def test_what_is_no_upload_is_told_with_its_place(tmp_path):
    bad = ["{", '"text"', {"user": "u", "tags": []}, {"image": "x", "tags": []}, {"image": "x", "user": "u"},
           {"image": "x", "user": "u", "tags": [1]}, {"image": "x", "user": True, "tags": []},
           '{"image": "x", "user": "u", "tags": ["' + "x" * 2**21 + '"]}', "", "[" * 100_000]  # fmt: skip
    uploads, told = read_all(find_parts([write(tmp_path / "u.jsonl", [*bad, *rows(2)])]))
    assert len(uploads) == 2
    words = ["is not JSON", "holds no object", "names no image", "names no user", "no list of tags",
             "no list of tags", "names no user", "longer than", "is not JSON"]  # fmt: skip
    assert len(told) == len(words)
    assert all(word in sentence for word, sentence in zip(words, told, strict=True))
    assert "the line at byte 2 " in told[1]


def test_a_folder_is_taken_in_order_of_name(tmp_path):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.jsonl", [{"image": name, "user": "u", "tags": []}])
    (tmp_path / "notes.txt").write_text("no uploads")
    assert [upload.image for upload in read_all(find_parts([tmp_path]))[0]] == ["a", "b"]


def test_what_is_no_file_of_uploads_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for place, said in (("absent.jsonl", "no such file"), ("notes.txt", "ends in none"), ("empty", "no uploads")):
        with pytest.raises(DataError, match=said):
            find_parts([tmp_path / place])
    with pytest.raises(DataError, match="cannot be read"):
        read_all([Part(tmp_path / "gone.jsonl", "lines", 0, 5)])


def test_parquet_gives_what_json_lines_give(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    found = rows(10)
    table = pyarrow.table({key: [row[key] for row in found] for key in ("tags", "image", "user")})
    parquet.write_table(table, tmp_path / "u.parquet", row_group_size=4)
    write(tmp_path / "u.jsonl", found)
    parts = find_parts([tmp_path / "u.parquet"])
    assert len(parts) == 3
    assert read_all(parts) == read_all(find_parts([tmp_path / "u.jsonl"]))
    parquet.write_table(table.drop_columns(["user"]), tmp_path / "v.parquet")
    with pytest.raises(DataError, match="no column 'user'"):
        read_all(find_parts([tmp_path / "v.parquet"]))
    (tmp_path / "w.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(DataError, match="is not Parquet"):
        find_parts([tmp_path / "w.parquet"])


def test_the_symbol_worlds_tags_are_uploads(tmp_path):
    found = [upload for i in range(5) for upload in make_uploads(make_scene(i))]
    write(tmp_path / "tags.jsonl", [{"image": "x", "user": u.user, "tags": u.tags, "noise": u.noise} for u in found])
    uploads, _ = read_all(find_parts([tmp_path / "tags.jsonl"]))
    assert [(u.user, u.tags) for u in uploads] == [(u.user, u.tags) for u in found]
