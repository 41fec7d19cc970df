"""VOC and ImageNet: real files, hand-made ones, and hostile XML."""

import pytest
from PIL import Image

from excitation.data import DataError, open_data, read_difficult_list, read_imagenet, read_voc
from excitation.data._xml import MAX_BYTES, XmlError, read_xml

SIZE = "<size><width>40</width><height>30</height></size>"


def thing(name="cat", box=(1, 2, 10, 20), more=""):
    sides = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox>{more}</object>"


def voc(root, files, names=None, pictures=None):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / "Annotations" / f"{name}.xml").write_text(content)
    for name in files if pictures is None else pictures:
        Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{name}.jpg")
    lines = files if names is None else names
    (root / "ImageSets/Main/test.txt").write_text("\n".join(lines) + "\n")
    return root


def annotation(*parts):
    return f"<annotation>{''.join(parts)}</annotation>"


def test_kangaroos(shared):
    data = read_voc(shared("data/kangaroo"))
    images = list(data)
    assert len(images) == len(data) == 82
    assert data.categories == ("kangaroo",)
    first = data.image("00001")
    assert first.size == (319, 450)
    # xmin 233, ymin 89, xmax 386, ymax 262, counted from 1 with both ends
    assert [item.box for item in first.instances] == [(232, 88, 386, 262), (133, 104, 341, 253)]
    assert data.read(first).size == (450, 319)


def test_voc_counts_from_one_and_keeps_flagged_objects(tmp_path):
    inner = "<difficult>1</difficult><part><name>head</name><bndbox><xmin>3</xmin></bndbox></part>"
    data = read_voc(
        voc(tmp_path, {"a": annotation(SIZE, thing(box=(1, 1, 40, 30)), thing("dog", (5, 5, 5, 5), inner))})
    )
    (image,) = data
    assert [(item.category, item.box, item.flagged) for item in image.instances] == [
        ("cat", (0, 0, 40, 30), False),
        ("dog", (4, 4, 5, 5), True),
    ]
    assert image.categories == ("cat", "dog")
    assert data.truth == "boxes"


def test_voc_lists_what_it_leaves_out(tmp_path):
    files = {
        "good": annotation(thing(box=("1.5", "2", "10.25", "20"))),
        "unboxed": annotation(SIZE, "<object><name>cat</name></object>", thing(box=("x", 1, 2, 3)), "<object/>"),
        "empty": annotation(SIZE, thing(box=(9, 9, 5, 5)), thing(box=(50, 1, 60, 9)), thing(box=(30, 1, 60, 9))),
        "cut": annotation(SIZE)[:-5],
        "other": "<html/>",
        "gone": annotation(SIZE),
    }
    root = voc(tmp_path, files, [*files, "good", "absent", "../../etc/passwd 1", ""], [n for n in files if n != "gone"])
    data = read_voc(root, "test")
    assert [image.id for image in data] == ["good", "unboxed", "empty"]
    assert data.image("good").instances[0].box == (0.5, 1, 10.25, 20)
    assert data.image("good").size == (30, 40)
    assert data.image("empty").instances[0].box == (29, 0, 40, 9)
    told = "\n".join(map(str, data.problems))
    for words in [
        "more than once", "object 1 (cat) has no box", "object 2 (cat) has no box", "1 objects without a name",
        "object 1 (cat) has a box without area in the image (8, 8, 5, 5)", "object 2 (cat) has a box without area",
        "object 3 (cat) has a box that reaches 20 pixels", "cut.xml: is not well-formed", "outermost element is <html>",
        "gone.xml: annotates a picture that is not in", "absent.xml: cannot be read",
        "'../../etc/passwd', which is no name of a file in the folder",
    ]:  # fmt: skip
        assert words in told
    assert len(data.problems) == 12


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "x" * 5000])
def test_names_that_no_file_can_have_are_listed(tmp_path, name):
    root = voc(tmp_path / "voc", {"good": annotation(SIZE)}, ["good", name], ["good"])
    (tmp_path / "csv/val").mkdir(parents=True)
    (tmp_path / "csv/labels.csv").write_text(f"file,class_index\n{name}.png,3\n")
    for data, said, count in (
        (read_voc(root, "test"), "test.txt: names image", 1),
        (read_imagenet(tmp_path / "csv"), "labels.csv: names image", 0),
    ):
        assert len(list(data)) == count
        (problem,) = map(str, data.problems)
        assert said in problem
        data.fingerprint()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>',
            "document type",
        ),
        ('<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>', "document type"),
        ('<!DOCTYPE annotation SYSTEM "http://localhost/x.dtd"><annotation/>', "document type"),
        ("<a>" * 100_000, "more than 32 deep"),
        ("<annotation>" + " " * MAX_BYTES + "</annotation>", "larger than 4 MiB"),
        ("<annotation>&b;</annotation>", "not well-formed"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "not well-formed"),
        ("", "not well-formed"),
    ],
)
def test_hostile_xml_is_refused(tmp_path, content, words):
    file = tmp_path / "a.xml"
    file.write_text(content)
    with pytest.raises(XmlError, match=words):
        read_xml(file)


def test_voc_splits(tmp_path):
    with pytest.raises(DataError, match="ImageSets/Main"):
        read_voc(tmp_path)
    voc(tmp_path, {"a": annotation(SIZE)})
    (tmp_path / "ImageSets/Main/val.txt").write_text("a\n")
    with pytest.raises(DataError, match="there is: test, val"):
        read_voc(tmp_path)
    assert open_data(f"voc:{tmp_path}@val").name.endswith("-val")
    with pytest.raises(DataError, match="not of the form"):
        open_data("pascal:somewhere")
    with pytest.raises(DataError, match="no such folder"):
        open_data(f"coco:{tmp_path}/x@y")


def test_imagenet_sample_has_labels_and_classes(shared):
    data = read_imagenet(shared("data/imagenet_sample"))
    assert len(data) == 300
    shark = data.image("n01491361_tiger_shark")
    assert shark.labels == ("n01491361",)
    assert data.classes["n01491361"] == (3,)
    assert not shark.instances
    assert data.read(shark).size == shark.size[::-1]
    assert not data.problems


def picture(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(root / name)


def test_imagenet_boxes_as_xml(tmp_path):
    picture(tmp_path, "Data/CLS-LOC/val/v1.JPEG", "Data/CLS-LOC/val/v2.JPEG")
    folder = tmp_path / "Annotations/CLS-LOC/val"
    folder.mkdir(parents=True)
    (folder / "v1.xml").write_text(annotation(SIZE, thing("n02", (0, 0, 40, 30)), thing("n01", (0, 0, "", 1))))
    (folder / "v2.xml").write_text(annotation("<size><width>0</width><height>0</height></size>", thing("n01")))
    (folder / "v3.xml").write_text(annotation(SIZE))
    (folder / "v4.xml").write_text("no")
    picture(tmp_path, "Data/CLS-LOC/val/v4.JPEG")
    data = read_imagenet(tmp_path)
    first, second = data
    assert [item.box for item in first.instances] == [(0, 0, 40, 30)]
    assert second.size == (30, 40)
    assert second.instances[0].box == (1, 2, 10, 20)
    assert not data.classes
    assert data.categories == ("n01", "n02")
    told = "\n".join(map(str, data.problems))
    for words in ["object 2 has no box", "image 'v3', whose picture is missing", "v4.xml: is not well-formed"]:
        assert words in told


def test_csv_with_a_huge_field_is_refused(tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "labels.csv").write_text(f"{'a' * 200_000},class_index\nx,3\n")
    with pytest.raises(DataError, match=r"labels\.csv: is not CSV that can be read: field larger"):
        read_imagenet(tmp_path)
    (tmp_path / "list.csv").write_text(f"x,0\ny,{'a' * 200_000}\n")
    with pytest.raises(DataError, match=r"list\.csv: line 2 is not CSV that can be read: field larger"):
        read_difficult_list(tmp_path / "list.csv", ["cat"])


def test_imagenet_boxes_as_csv(tmp_path):
    picture(tmp_path, "val/v1.JPEG", "val/v2.JPEG")
    table = tmp_path / "LOC_val_solution.csv"
    table.write_text("ImageId,PredictionString\nv1,n01 1 2 3 4 n01 5 6 7 8 \nv2,n02 1 2 3\nv3,n02 1 2 x 4\n")
    data = read_imagenet(tmp_path)
    assert [[item.box for item in image.instances] for image in data] == [[(1, 2, 3, 4), (5, 6, 7, 8)]]
    told = "\n".join(map(str, data.problems))
    for words in ["line 3 is no image with groups", "line 4, object 1 has no box", "image 'v3', whose picture"]:
        assert words in told


def test_labels_with_boxes_and_their_mistakes(tmp_path):
    picture(tmp_path, "images/a.png", "images/b.png")
    table = tmp_path / "labels.csv"
    lines = [
        "a.png,7,n01,1,2,3,4",
        "a.png,7,n01,5,6,7,8",
        "b.png,8,n02,1,2,3,",
        "b.png,9,n02,1,2,3,4",
        "b.png,x,n3,,,,",
    ]
    table.write_text("file,class_index,wnid,x0,y0,x1,y1\n" + "\n".join(lines))
    data = read_imagenet(tmp_path)
    a, b = data
    assert [item.box for item in a.instances] == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert b.labels == ("n02",)
    assert data.classes == {"n01": (7,), "n02": (8,)}
    assert [problem.sentence.split(";")[0] for problem in data.problems] == [
        "line 4 has no box of four numbers",
        "line 5 gives n02 class 9, an earlier line 8",
        "line 6 has no file or no class index",
    ]
    table.write_text("picture,class\na.png,1\n")
    with pytest.raises(DataError, match="file,class_index,wnid expected"):
        read_imagenet(tmp_path)
    table.unlink()
    with pytest.raises(DataError, match="neither XML files"):
        read_imagenet(tmp_path)


def test_labels_may_name_pictures_from_the_root_on(tmp_path):
    picture(tmp_path, "images/a.png", "images/images/b.png")
    (tmp_path / "labels.csv").write_text(
        "file,class_index,wnid\nimages/a.png,7,n01\nimages/b.png,8,n02\n../c.png,9,n03\n"
    )
    data = read_imagenet(tmp_path)
    assert [image.path.relative_to(tmp_path).as_posix() for image in data] == ["images/a.png", "images/images/b.png"]
    assert ["'c'" in str(problem) for problem in data.problems] == [True]


@pytest.mark.parametrize("name", ["LOC_synset_mapping.txt", "synset_words.txt", "synsets.txt"])
def test_the_order_of_the_classes_is_read_where_it_is_written(tmp_path, name):
    picture(tmp_path, "images/a.JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\na,n02 0 0 5 5 n01 1 1 2 2\n")
    assert read_imagenet(tmp_path).order == ()
    (tmp_path / name).write_text("n02 cat, tom\nn03 dog\n\nn01 tench\n")
    data = read_imagenet(tmp_path)
    assert data.order == ("n02", "n03", "n01")
    assert not data.classes
    assert data.categories == ("n01", "n02")


def test_categories_are_read_without_the_pictures(tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\na,n02 0 0 5 5\n")
    data = read_imagenet(tmp_path)
    assert data.categories == ("n02",)
    assert not data.problems
