from __future__ import annotations

import pytest

from excitation.data._pictures import PictureError, find_pictures


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPEG", "a.png", "c.webp", "labels.csv", "notes", ".hidden.png", "sub/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder(folder):
    found = find_pictures([folder])
    assert [path.name for path in found.pictures] == ["a.png", "b.JPEG", "c.webp"]
    assert [path.name for path in found.others] == ["labels.csv", "notes"]


def test_files_are_taken_by_their_word_and_once(folder):
    found = find_pictures([folder / "notes", folder / "c.webp", str(folder)])
    assert [path.name for path in found.pictures] == ["notes", "c.webp", "a.png", "b.JPEG"]


def test_absent_and_empty(folder):
    with pytest.raises(PictureError, match=r"nowhere: no such file or folder\."):
        find_pictures([folder / "a.png", folder / "nowhere"])
    (folder / "empty").mkdir()
    with pytest.raises(PictureError, match="holds no picture"):
        find_pictures([folder / "empty"])
