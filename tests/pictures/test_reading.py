"""Pictures as cameras, scanners, web sites and attackers write them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from excitation.data._pictures import MAX_PIXELS, PictureError, read_picture


@pytest.fixture(scope="module")
def scene():
    """A small picture with four different corners, smooth enough that JPEG keeps its colours."""
    picture = Image.new("RGB", (48, 32))
    draw = ImageDraw.Draw(picture)
    for box, colour in {
        (0, 0, 23, 15): "red",
        (24, 0, 47, 15): "lime",
        (0, 16, 23, 31): "blue",
        (24, 16, 47, 31): "white",
    }.items():
        draw.rectangle(box, fill=colour)
    return picture


def corners(picture):
    width, height = picture.size
    places = [(4, 4), (width - 5, 4), (4, height - 5), (width - 5, height - 5)]
    return np.array([picture.getpixel(place) for place in places], dtype=int)


CORNERS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])


def refused(path, *words):
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.bmp", "a.webp", "a.tif", "a.ppm", "a.jp2", "a.avif"])
def test_every_format(tmp_path, scene, name):
    if name.endswith("avif") and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    scene.save(tmp_path / name, **({"quality": 95, "subsampling": 0} if name == "a.jpg" else {}))
    picture = read_picture(tmp_path / name)
    assert picture.mode == "RGB"
    assert picture.size == (48, 32)
    assert np.abs(corners(picture) - CORNERS).max() <= 12


def test_the_name_does_not_decide(tmp_path, scene):
    scene.save(tmp_path / "really.png")
    (tmp_path / "really.png").rename(tmp_path / "claims.jpg")
    assert read_picture(str(tmp_path / "claims.jpg")).tobytes() == scene.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation(tmp_path, scene, orientation, suffix):
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    turned = scene if stored is None else scene.transpose(stored)
    extra = {"lossless": True} if suffix == "webp" else {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    turned.save(path, exif=exif, **extra)
    picture = read_picture(path)
    assert picture.size == (48, 32)
    assert np.abs(corners(picture) - CORNERS).max() <= 8


def test_orientation_survives_conversion(tmp_path, scene):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.convert("L").transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    assert read_picture(tmp_path / "a.png").tobytes() == scene.convert("L").convert("RGB").tobytes()


def test_a_picture_with_damaged_exif_stands_as_stored(tmp_path, scene):
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\x01" * 9
    scene.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.size == (48, 32)
    assert np.abs(corners(picture) - CORNERS).max() <= 8


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_keeps_its_range(tmp_path, suffix):
    values = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 64 64 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    grey = np.asarray(read_picture(path))
    assert (grey == np.round(values / 257).astype(np.uint8)[..., None]).all()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, *between):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(between) + body + chunk(b"IEND", b"")


def test_16_bit_colour(tmp_path):
    values = np.array([[(65535, 0, 32896), (257, 65535, 0)]], dtype=">u2")
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, b"\x00" + values.tobytes()))
    assert np.abs(np.asarray(read_picture(tmp_path / "a.png")).astype(int) - values.astype(int) // 257).max() <= 1


def test_16_bit_grey_with_a_transparent_value(tmp_path):
    values = np.array([[1000, 40000]], dtype=">u2")
    data = png(2, 1, 16, 0, b"\x00" + values.tobytes(), chunk(b"tRNS", struct.pack(">H", 1000)))
    (tmp_path / "a.png").write_bytes(data)
    assert np.asarray(read_picture(tmp_path / "a.png"))[0, :, 0].tolist() == [255, 156]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_without_an_agreed_white(tmp_path, mode):
    Image.new(mode, (4, 4), 70000).save(tmp_path / "a.tif")
    refused(tmp_path / "a.tif", "value for white is not defined", "8 or 16 bits")


def test_cmyk(tmp_path, scene):
    scene.convert("CMYK").save(tmp_path / "a.jpg", quality=95, subsampling=0)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.mode == "RGB"
    assert np.abs(corners(picture) - CORNERS).max() <= 12


def test_palette(tmp_path, scene):
    scene.quantize(8).save(tmp_path / "a.png")
    assert (corners(read_picture(tmp_path / "a.png")) == CORNERS).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "palette", "palette bytes", "grey key", "colour key"])
def test_transparency_lies_over_white(tmp_path, mode):
    path = tmp_path / "a.png"
    if mode == "RGBA":
        picture = Image.new("RGBA", (2, 1), (100, 0, 0, 255))
        picture.putpixel((0, 0), (0, 0, 0, 0))
        picture.save(path)
        expected = [(255, 255, 255), (100, 0, 0)]
    elif mode == "LA":
        picture = Image.new("LA", (2, 1), (100, 255))
        picture.putpixel((0, 0), (0, 51))
        picture.save(path)
        expected = [(204, 204, 204), (100, 100, 100)]
    elif mode.startswith("palette"):
        picture = Image.new("P", (2, 1))
        picture.putpalette([0, 0, 0, 100, 0, 0])
        picture.putpixel((1, 0), 1)
        picture.save(path, transparency=0 if mode == "palette" else b"\x00\xff")
        expected = [(255, 255, 255), (100, 0, 0)]
    else:
        kind, key, colour = ("L", 7, 100) if mode == "grey key" else ("RGB", (0, 0, 7), (100, 0, 0))
        picture = Image.new(kind, (2, 1), colour)
        picture.putpixel((0, 0), key)
        picture.save(path, transparency=key)
        expected = [(255, 255, 255), (100, 100, 100) if kind == "L" else (100, 0, 0)]
    assert [read_picture(path).getpixel((x, 0)) for x in range(2)] == expected


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif", "gif", "jp2"])
def test_truncated(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, format={"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix))
    whole = stream.getvalue()
    path = tmp_path / f"a.{suffix}"
    for share in (0.05, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(path)


def test_progressive_jpeg_truncated(tmp_path, scene):
    stream = io.BytesIO()
    scene.resize((640, 480)).save(stream, "JPEG", progressive=True)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue()[:-2000])
    refused(tmp_path / "a.jpg", "truncated")


def test_random_bytes_within(tmp_path):
    """Whatever is damaged, the answer is a picture or one sentence."""
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 255, (24, 24, 3), dtype=np.uint8)
    answers = set()
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, kind)
        for _ in range(25):
            data = np.frombuffer(stream.getvalue(), dtype=np.uint8).copy()
            places = generator.integers(0, len(data), 12)
            data[places] = generator.integers(0, 255, 12)
            (tmp_path / "a").write_bytes(data.tobytes())
            try:
                answers.add(read_picture(tmp_path / "a").mode)
            except PictureError as error:
                assert "\n" not in str(error)  # noqa: PT017 - either answer is right
                answers.add("refused")
    assert answers == {"RGB", "refused"}


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_animated_or_paged(tmp_path, scene, suffix):
    path = tmp_path / f"a.{suffix}"
    frames = [scene, scene.transpose(Image.Transpose.ROTATE_180), scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    refused(path, "holds 3 pictures")


def test_of_a_cameras_two_pictures_the_first(tmp_path, scene):
    path = tmp_path / "a.jpg"
    scene.save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))], quality=95, subsampling=0)
    with Image.open(path) as stored:
        assert stored.n_frames == 2
    assert read_picture(path).size == (48, 32)


@pytest.mark.parametrize("side", [9_500, 30_000, 2_000_000_000])
def test_decompression_bomb(tmp_path, side):
    path = tmp_path / "a.png"
    path.write_bytes(png(side, side, 8, 2, b"\x00"))
    message = refused(path, "pixels")
    assert path.stat().st_size < 200
    assert "truncated" not in message
    assert side * side > MAX_PIXELS


def test_bomb_in_a_text_chunk(tmp_path):
    text = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(b"\x00" * 100_000_000))
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 0, b"\x00\x00", text))
    refused(tmp_path / "a.png")


def test_the_limit_is_the_callers(tmp_path, scene):
    scene.save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", max_pixels=48 * 32).size == (48, 32)
    with pytest.raises(PictureError, match=r"48 x 32 pixels, more than the 1,535 allowed"):
        read_picture(tmp_path / "a.png", max_pixels=48 * 32 - 1)


def test_no_picture_at_all(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>not found</html>")
    refused(tmp_path / "a.jpg", "not a picture", "JPEG")
    (tmp_path / "b.jpg").write_bytes(b"")
    refused(tmp_path / "b.jpg", "not a picture")
    (tmp_path / "c.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\nshowpage\n")
    refused(tmp_path / "c.eps", "not a picture")
    refused(tmp_path / "d.jpg", "no such file")
    refused(tmp_path, "is not a file")


def test_real_photos(shared):
    sizes = {path.name: read_picture(path).size for path in sorted(shared("data/photos").iterdir())}
    assert sizes["catdog.jpg"] == (224, 224)
    assert sizes["n04507155_umbrella.JPEG"] == (358, 500)
    assert len(sizes) == 6
