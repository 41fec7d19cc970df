"""The store of results: resuming, refusing, merging, being full, being killed."""

import dataclasses
import json
import random
import signal
import sqlite3
import time

import numpy as np
import pytest
from writers import UNITS, write_units

from excitation.evaluation import StoreError, accuracy, interval, merge_results, open_store, read_results
from excitation.evaluation._rows import outcomes_of, value
from excitation.evaluation._store import Row
from excitation.grounding import GROUPS, Judgement, recall_at, recall_interval

WORLD = {"model": "abc", "methods": ["mwp"], "tolerance": {"radius": 15}}


def row(image="1", query="cat", **more):
    return Row(image, query, "mwp", "pool4", 3, 4, True, False, 0.25, 0.5, **more)


def timeless(results):
    rows = [dataclasses.replace(item, seconds=None) for item in results.rows]
    return rows, results.left_out, results.problems, results.finished


def test_what_goes_in_comes_out(tmp_path):
    path = tmp_path / "new/run.sqlite"
    rows = [
        row(),
        row(query="ätsch 'quoted'", value=0.1 + 0.2),
        Row("1", "c", "centre", "", None, None, False, True, None, None),
    ]
    with open_store(path, WORLD, planned=3, environment={"torch": "2.13"}) as store:
        store.add("1", rows, left_out=[("1", "hat", "no class")], problems=[("a.jpg", "is broken.")])
        store.add("2", problems=[("a.jpg", "is broken."), ("b.jpg", "is gone.")])
        store.note([("c.xml", "is odd.")])
    found = read_results(path)
    assert set(found.rows) == set(rows)
    assert [item.query for item in found.rows] == ["c", "cat", "ätsch 'quoted'"]
    assert found.configuration == WORLD
    assert (found.finished, found.planned, found.complete, found.shard) == (("1", "2"), 3, False, (0, 1))
    assert found.left_out == (("1", "hat", "no class"),)
    assert found.problems == (("a.jpg", "is broken."), ("b.jpg", "is gone."), ("c.xml", "is odd."))
    assert found.environments == ({"torch": "2.13"},)


def test_a_run_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "run.sqlite"
    with open_store(path, WORLD, planned=2, environment={"torch": "1"}) as store:
        store.add("1", [row()])
    with open_store(path, dict(reversed(WORLD.items())), planned=2, environment={"torch": "2"}) as store:
        assert store.finished == {"1"}
        with pytest.raises(StoreError, match="'1' is already finished"):
            store.add("1", [row()])
        store.add("2", [row("2")])
    found = read_results(path)
    assert found.complete
    assert found.environments == ({"torch": "1"}, {"torch": "2"})


def test_another_configuration_is_refused_and_named(tmp_path):
    path = tmp_path / "run.sqlite"
    open_store(path, WORLD, planned=2).close()
    other = {"model": "xyz", "tolerance": {"radius": 15}, "seed": 1}
    with pytest.raises(StoreError) as caught:
        open_store(path, other, planned=2)
    assert 'model was "abc", is "xyz"' in str(caught.value)
    assert 'methods was ["mwp"], is missing; model' in str(caught.value)
    assert "seed was missing, is 1" in str(caught.value)
    assert "tolerance" not in str(caught.value)
    with pytest.raises(StoreError, match="started with planned 2, not 3"):
        open_store(path, WORLD, planned=3)
    with pytest.raises(StoreError, match="started with shard"):
        open_store(path, WORLD, planned=2, shard=(0, 2))
    open_store(path, WORLD, planned=2).close()  # a refusal leaves no lock


def test_a_difference_is_told_in_a_few_words(tmp_path):
    def described(name, **more):
        return json.dumps({"": "excitation.evaluation._methods.NamedMethod", "name": name, "options": [], **more})

    names = ["mwp", "c-mwp", "gradient", *(f"method-{i}" for i in range(20))]
    was = {
        "data": {"name": "coco", "hash": "a" * 64}, "note": "x" * 300 + " one way", "order": ["a", "b"],
        "methods": {name: described(name, spatial="response") for name in names},
        "layers": {name: [None] for name in names},
    }  # fmt: skip
    now = {
        "data": {"name": "coco", "hash": "b" * 64}, "note": "x" * 300 + " another", "order": ["b", "a"],
        "methods": {**was["methods"], "mwp": described("mwp", spatial="softmax"), "cam": described("cam")},
        "layers": {**was["layers"], "mwp": [None, "conv"]},
    }  # fmt: skip
    del now["methods"]["c-mwp"]
    path = tmp_path / "run.sqlite"
    open_store(path, was, planned=2).close()
    with pytest.raises(StoreError) as caught:
        open_store(path, now, planned=2)
    told = str(caught.value)
    for words in (
        'data.hash was "aaa', 'methods.mwp.spatial was "response", is "softmax"', "methods: c-mwp removed, cam added",
        'layers.mwp: "conv" added', 'order was ["a", "b"], is ["b", "a"]',
    ):  # fmt: skip
        assert words in told
    assert ' one way", is ...' in told
    assert "gradient" not in told
    assert "\\" not in told
    assert len(told) < 600
    with pytest.raises(StoreError, match=r"; 12 more\. Use the same configuration"):
        open_store(path, {f"key{i}": i for i in range(15)}, planned=2)


def test_a_unit_is_added_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run.sqlite"
    with open_store(path, WORLD, planned=2) as store:
        with pytest.raises(StoreError, match="a result occurs twice"):
            store.add("1", [row(), row(query="dog"), row()])
        assert store.finished == set()

        def broken():
            yield row()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.add("1", broken())
        assert read_results(path).rows == ()
        store.add("1", [row()])
    assert len(read_results(path).rows) == 1


def test_a_full_disk_loses_nothing(tmp_path):
    path = tmp_path / "run.sqlite"
    with open_store(path, WORLD, planned=500) as store:
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages + 3}").fetchall()

        def add(number):
            store.add(str(number), [row(str(number), f"c{c}") for c in range(20)])

        with pytest.raises(StoreError, match="the disk is full; free space"):
            any(map(add, range(500)))
        done = len(store.finished)
        assert 0 < done < 500
    with open_store(path, WORLD, planned=500) as store:
        assert store.finished == {str(i) for i in range(done)}
        store.add(str(done), [row(str(done))])
    assert len(read_results(path).rows) == 20 * done + 1


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path):
    path = tmp_path / "run.sqlite"
    with open_store(path, WORLD, planned=2) as store:
        store.add("1", [row()])
        with pytest.raises(StoreError, match="another process is writing"):
            open_store(path, WORLD, planned=2)
        assert len(read_results(path).rows) == 1
        store.add("2")
    open_store(path, WORLD, planned=2).close()


def test_files_of_others_are_left_alone(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        read_results(tmp_path / "none.sqlite")
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, but long enough to be looked at as one" * 100)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = text.read_bytes(), other.read_bytes()
    for path, words in ((text, "is not a file of results"), (other, "database of another program")):
        with pytest.raises(StoreError, match=words):
            open_store(path, WORLD, planned=1)
        with pytest.raises(StoreError, match=words):
            read_results(path)
    assert (text.read_bytes(), other.read_bytes()) == before
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(StoreError, match="contains no results; run the game"):
        read_results(empty)
    open_store(empty, WORLD, planned=1).close()
    future = tmp_path / "future.sqlite"
    open_store(future, WORLD, planned=1).close()
    with sqlite3.connect(future) as connection:
        connection.execute("UPDATE about SET value = '99' WHERE name = 'format'")
    connection.close()
    with pytest.raises(
        StoreError, match=r"has format 99, but this version of excitation reads and writes format 3 only"
    ):
        read_results(future)


def test_the_format_before_queries_is_refused_with_a_remedy(tmp_path):
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 1161973072")
        connection.execute("CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute("CREATE TABLE result (image TEXT, category TEXT)")
        connection.execute("INSERT INTO about VALUES ('format', '2')")
    connection.close()
    before = path.read_bytes()
    for use in (read_results, lambda file: open_store(file, WORLD, planned=1)):
        with pytest.raises(StoreError, match=r"has format 2, .* run the game again with a new file\.$"):
            use(path)
    assert path.read_bytes() == before


def test_phrases_share_the_store_and_the_statistics(tmp_path):
    """Recall of phrases from stored rows is that of `grounding`, over phrases and over their types."""
    rng = random.Random(4)
    judged, rows = [], []
    for number in range(60):
        image, key, types = str(number % 12), f"{number // 12}:0-2", tuple(rng.sample(GROUPS[:4], rng.randint(1, 2)))
        correct = np.array([rng.random() < 0.4])
        judged.append(Judgement(image, key, "a dog", types, False, np.ones(1), correct))
        rows.append(row(image, key, value=float(correct[0]), groups=types))
    path = tmp_path / "run.sqlite"
    with open_store(path, WORLD, planned=1) as store:
        store.add("all", rows)
    stored = read_results(path).rows
    assert set(stored) == set(rows)
    by_type = [recall_at([item for item in judged if name in item.types], 1) for name in GROUPS[:4]]
    for average, by_group, recall in (("pooled", False, recall_at(judged, 1)), ("mean", True, np.mean(by_type))):
        outcomes = outcomes_of(stored, average, measure=value)
        assert getattr(accuracy(outcomes), average) == pytest.approx(recall, rel=1e-12)
        assert interval(outcomes, average) == recall_interval(judged, 1, by_group=by_group)


def add_one(store, unit):
    store.add(unit, [row(unit)], left_out=[(unit, "hat", "no class")], problems=[("a", "b.")])


def make_shards(folder, count=3, units=7, skip=None):
    paths = []
    for index in range(count):
        path = folder / f"shard{index}.sqlite"
        own = range(index, units, count)
        with open_store(path, WORLD, planned=len(own), shard=(index, count), environment={"host": index % 2}) as store:
            for unit in own:
                if unit != skip:
                    store.add(
                        str(unit), [row(str(unit))], left_out=[(str(unit), "hat", "no class")], problems=[("a", "b.")]
                    )
        paths.append(path)
    return paths


def test_shards_become_one(tmp_path):
    paths = make_shards(tmp_path)
    merged = merge_results(paths[::-1], tmp_path / "all.sqlite")
    whole = tmp_path / "whole.sqlite"
    with open_store(whole, WORLD, planned=7) as store:
        for unit in range(7):
            add_one(store, str(unit))
    expected = read_results(whole)
    assert timeless(merged) == timeless(expected)
    assert merged.complete
    assert merged.shard == (0, 1)
    assert sorted(item["host"] for item in merged.environments) == [0, 1]
    assert sorted(file.name for file in tmp_path.iterdir() if "part" in file.name) == []
    with pytest.raises(StoreError, match="already exists"):
        merge_results(paths, tmp_path / "all.sqlite")


def test_merging_refuses_what_does_not_fit(tmp_path):
    paths = make_shards(tmp_path, skip=4)
    out = tmp_path / "all.sqlite"
    with pytest.raises(StoreError, match="shard 2/3 is missing"):
        merge_results([paths[0], paths[2]], out)
    with pytest.raises(StoreError, match=r"shard1\.sqlite: 1 of 2 images are finished"):
        merge_results(paths, out)
    with pytest.raises(StoreError, match="same shard 1/3"):
        merge_results([*paths, paths[0]], out)
    other = tmp_path / "other.sqlite"
    open_store(other, {**WORLD, "seed": 1}, planned=1, shard=(1, 3)).close()
    with pytest.raises(StoreError, match=r"another configuration.*seed was missing, is 1"):
        merge_results([paths[0], other], out)
    half = tmp_path / "half.sqlite"
    open_store(half, WORLD, planned=1, shard=(1, 2)).close()
    with pytest.raises(StoreError, match="one of 2 shards"):
        merge_results([paths[0], half], out)
    with pytest.raises(StoreError, match="no file"):
        merge_results([], out)
    assert not out.exists()
    partial = merge_results(paths[:2], out, partial=True)
    assert (len(partial.finished), partial.planned, partial.complete) == (4, 6, False)


def count_finished(path):
    """None, too, in a file whose writer was killed between its beginning and its first line."""
    try:
        return len(read_results(path).finished)
    except StoreError as error:
        if "contains no results; run the game" not in str(error):
            raise
        return 0


def test_fifty_random_kills_change_nothing(tmp_path, writers):
    undisturbed, killed = tmp_path / "undisturbed.sqlite", tmp_path / "killed.sqlite"
    write_units(undisturbed)
    rng = random.Random(0)
    kills, lives, finished, longest = 0, 0, 0, 0.002
    for _ in range(50):
        pid = writers.start("write_units", killed)
        time.sleep(rng.uniform(0, longest))
        kills += writers.kill(pid) == -signal.SIGKILL
        before = finished
        if killed.exists() and killed.stat().st_size:
            finished = count_finished(killed)
        assert finished >= before
        lives += finished > before
        # Lives of a few units each, whatever the disk's speed.
        longest *= 1.5 if finished == before else 0.5 if finished > before + 6 else 1
    assert kills == 50
    assert lives > 10
    assert finished < UNITS
    writers.start("write_units", killed)
    assert writers.status() == 0
    found, expected = read_results(killed), read_results(undisturbed)
    assert found.complete
    assert timeless(found) == timeless(expected)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "killed.sqlite", "killed.sqlite.lock", "undisturbed.sqlite", "undisturbed.sqlite.lock",
    ]  # fmt: skip


def test_kills_while_a_file_begins(tmp_path, writers):
    rng = random.Random(1)
    for number in range(15):
        path = tmp_path / f"{number}.sqlite"
        pid = writers.start("write_units", path, 2)
        time.sleep(rng.uniform(0, 0.008))
        assert writers.kill(pid) in {-signal.SIGKILL, 0}
        write_units(path, 2)
        assert read_results(path).complete


def test_a_killed_writer_leaves_no_lock(tmp_path, writers):
    path = tmp_path / "run.sqlite"
    pid = writers.start("hold", path)
    while not path.with_name("run.sqlite.held").exists():
        time.sleep(0.01)
    with pytest.raises(StoreError, match="another process is writing"):
        open_store(path, {"seed": 7}, planned=UNITS)
    assert read_results(path).finished == ("0000",)
    assert writers.kill(pid) == -signal.SIGKILL
    with open_store(path, {"seed": 7}, planned=UNITS) as store:
        assert store.finished == {"0000"}
