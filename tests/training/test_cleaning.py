"""Cleaning of uploads: the rules, their order and counts, resumption, and the same result in any division."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from excitation.data import DataError
from excitation.data._uploads import TaggedImage, clean_tags
from excitation.training.tags import clean_uploads, near_duplicates, read_cleaned, read_dictionary
from excitation.training.tags._steps import has_few, is_alphabetical


def random_uploads(count, seed=0):
    """Few users and few words, so that every rule finds something."""
    rng = random.Random(seed)
    words = [f"word{i}" for i in range(11)]
    found = []
    for i in range(count):
        tags = rng.sample(words, rng.randint(2, 9))
        found.append(
            (f"{i}.jpg", f"user{rng.randrange(count // 12 + 1)}", sorted(tags) if rng.random() < 0.1 else tags)
        )
    return [*found, ("rare.jpg", "someone", ["z", "q", "y", "x", "w"])]


def write(path, uploads):
    lines = (json.dumps({"image": image, "user": user, "tags": tags}) for image, user, tags in uploads)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def overlap(a, b):
    return len(set(a) & set(b))


def naive(uploads, threshold):
    """Appendix B, word by word: every image against every earlier one of its user."""
    counts = Counter(tag for _, _, tags in uploads for tag in clean_tags(tags))
    known = {tag for tag, count in counts.items() if count >= threshold}
    removed, kept, seen = Counter(), [], {}
    for image, user, tags in uploads:
        tags = clean_tags(tags)
        if len(tags) < 5:
            removed["few"] += 1
        elif list(tags) == sorted(tags):
            removed["alphabetical"] += 1
        else:
            earlier = seen.setdefault(user, [])
            similar = any(overlap(tags[:5], other) > 3 for other in earlier)
            earlier.append(tags[:5])
            if similar:
                removed["near-duplicate"] += 1
            elif not known & set(tags[:5]):
                removed["unknown"] += 1
            else:
                kept.append({"image": image, "user": user, "tags": list(tags[:5])})
    return kept, removed, {tag: counts[tag] for tag in known}


def read_kept(folder):
    return [
        json.loads(line)
        for file in sorted((folder / "uploads").glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]


@pytest.mark.parametrize(("part", "workers"), [(10**7, 1), (3000, 1), (20_000, 2)])
def test_it_does_what_the_appendix_says(tmp_path, part, workers):
    uploads = random_uploads(1500)
    found = clean_uploads([write(tmp_path / "u.jsonl", uploads)], tmp_path / "out", threshold=5, part=part,
                          workers=workers)  # fmt: skip
    kept, removed, dictionary = naive(uploads, 5)
    assert all(removed[name] > 0 for name in ("few", "alphabetical", "near-duplicate", "unknown"))
    assert found.removed == {"unreadable": 0, **removed}
    assert found.uploads == len(uploads) == sum(removed.values()) + found.kept
    assert read_kept(tmp_path / "out") == kept
    assert read_dictionary(tmp_path / "out") == dictionary
    assert list(read_dictionary(tmp_path / "out").values()) == sorted(dictionary.values(), reverse=True)
    assert found.dictionary == 11
    assert found.tags == 16
    assert read_cleaned(tmp_path / "out") == found
    assert not (tmp_path / "out" / ".work").exists()
    for example in found.examples["near-duplicate"]:
        assert overlap(example["tags"], example["like"]["tags"]) > 3
        assert example["user"] == example["like"]["user"]
        assert int(example["like"]["image"][:-4]) < int(example["image"][:-4])


def test_the_rules_themselves():
    assert has_few(["a", "b", "c", "d"])
    assert not has_few(["a", "b", "c", "d", "e"])
    assert is_alphabetical(["a", "b", "c", "d", "e"])
    assert not is_alphabetical(["b", "a", "c", "d", "e"])
    one, two, three = tuple("abcde"), tuple("edcbx"), tuple("abcxy")
    users, lists = "uvuuu", (one, one, two, three, ("x", *two))
    say = [TaggedImage(str(i), user, tags) for i, (user, tags) in enumerate(zip(users, lists, strict=True), 1)]
    # 4 shares three tags with 1 and three with 3; 5 only repeats 3, which itself was left out.
    assert near_duplicates(say) == [False, False, True, False, True]


def test_counts_are_the_same_when_many_parts_are_merged(tmp_path):
    uploads = random_uploads(1500)
    found = clean_uploads([write(tmp_path / "u.jsonl", uploads)], tmp_path / "out", threshold=5, part=900)
    assert found.removed == {"unreadable": 0, **naive(uploads, 5)[1]}
    assert read_dictionary(tmp_path / "out") == naive(uploads, 5)[2]
    assert len(json.loads((tmp_path / "out" / "sources.json").read_text())["parts"]) > 64


def test_a_folder_keeps_its_own_uploads(tmp_path):
    file = write(tmp_path / "u.jsonl", random_uploads(60))
    clean_uploads([file], tmp_path / "out", threshold=3)
    with pytest.raises(DataError, match="choose another folder"):
        clean_uploads([file], tmp_path / "out", threshold=4)
    write(file, random_uploads(61))
    with pytest.raises(DataError, match="choose another folder"):
        clean_uploads([file], tmp_path / "out", threshold=3)
    with pytest.raises(DataError, match="no cleaned uploads"):
        read_cleaned(tmp_path)


COMMAND = """
import sys
from excitation.training.tags import clean_uploads
clean_uploads([sys.argv[1] + "/u.jsonl"], sys.argv[1] + "/out", threshold=5, part=20000)
"""


@pytest.mark.parametrize("there", [".work/000003.json", ".work/duplicates-05.npy", "uploads/.done/000002.json"])
def test_after_a_kill_it_goes_on_where_it_was(tmp_path, there):
    uploads = random_uploads(20_000)
    write(tmp_path / "u.jsonl", uploads)
    process = subprocess.Popen([sys.executable, "-c", COMMAND, str(tmp_path)])
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / there).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    told = []
    found = clean_uploads([tmp_path / "u.jsonl"], tmp_path / "out", threshold=5, part=20_000,
                          progress=lambda *state: told.append(state))  # fmt: skip
    what, done, _ = told[0]
    assert what == "reading uploads"
    assert done > 0
    kept, removed, _ = naive(uploads, 5)
    assert found.removed == {"unreadable": 0, **removed}
    assert read_kept(tmp_path / "out") == kept
