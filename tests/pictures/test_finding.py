from __future__ import annotations

import pytest

from excitation.data._pictures import PictureError, find_pictures


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPEG", "a.png", "c.webp", "labels.csv", "notes", ".hidden.png", "sub/d.png", "sub/x/a.png",
                 "sub/notes.txt", ".cache/e.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(found):
    return [name.as_posix() for name in found.pictures.values()]


def test_a_folder_with_its_subfolders(folder):
    found = find_pictures([folder])
    assert names(found) == ["a", "b", "c", "sub/d", "sub/x/a"]
    assert all(path.is_file() and path.with_suffix("") == folder / name for path, name in found.pictures.items())
    assert [path.name for path in found.others] == ["labels.csv", "notes", "notes.txt"]


def test_names_are_told_apart(folder):
    (folder / "A.jpg").touch()
    assert names(find_pictures([folder])) == ["A.jpg", "a.png", "b", "c", "sub/d", "sub/x/a"]
    assert names(find_pictures([folder / "sub", folder / "sub/x"])) == ["sub/d", "sub/x/a"]
    assert names(find_pictures([folder / "sub/x", folder / "a.png"])) == ["a.png", "a.png"]  # refused by make_jobs


def test_results_are_not_taken_for_pictures(folder):
    assert names(find_pictures([folder], out=folder / "sub")) == ["a", "b", "c"]
    with pytest.raises(PictureError, match="is the folder of the results too"):
        find_pictures([folder / "sub"], out=folder / "sub/../sub")


def test_links_that_lead_back_are_followed_once(folder):
    (folder / "sub/again").symlink_to(folder, target_is_directory=True)
    (folder / "elsewhere").symlink_to(folder / ".cache", target_is_directory=True)
    assert names(find_pictures([folder])) == ["a", "b", "c", "elsewhere/e", "sub/d", "sub/x/a"]


def test_files_are_taken_by_their_word_and_once(folder):
    found = find_pictures([folder / "notes", folder / "c.webp", str(folder)])
    assert [path.name for path in found.pictures] == ["notes", "c.webp", "a.png", "b.JPEG", "d.png", "a.png"]


def test_absent_and_empty(folder):
    with pytest.raises(PictureError, match=r"nowhere: no such file or folder\."):
        find_pictures([folder / "a.png", folder / "nowhere"])
    (folder / "empty").mkdir()
    with pytest.raises(PictureError, match="neither this folder nor its subfolders contain a picture"):
        find_pictures([folder / "empty"])
