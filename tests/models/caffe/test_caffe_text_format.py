"""Prototxts are read as protobuf's text format has it; its own Python parser is the independent truth."""

from __future__ import annotations

import math
import random
import re

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor as Field
from hypothesis import given, settings
from hypothesis import strategies as st

import excitation as eb
from excitation.models.caffe import load_caffe
from excitation.models.caffe._schema import HARMLESS, TEXT, message
from excitation.models.caffe._text import read_text

NET = message("text", "Net")
NAMES = sorted({part.split()[0] for fields in TEXT.values() for part in fields.split("; ") if part} | HARMLESS)
fast = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("texts")


def read(folder, text):
    (folder / "net.prototxt").write_text(text, encoding="utf-8")
    return read_text(folder / "net.prototxt")


def theirs(text):
    return text_format.Parse(text, NET())


def parses(text, **options):
    try:
        text_format.Parse(text, NET(), **options)
    except text_format.ParseError:
        return False
    return True


PLAIN = """input: "data"
input_shape { dim: 1 dim: 3 dim: 6 dim: 7 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
"""


@pytest.mark.parametrize("ending", [": 1", " {", ': "', ": [", " }"])
def test_every_field_name_in_comments_and_strings(folder, ending):
    """Whatever stands in a comment or a string, the network is the same."""
    assert len(NAMES) > 90
    wanted = read(folder, PLAIN)
    for name in NAMES:
        comment = f"# {name}{ending}\n#{name}{ending} # '\"\n"
        text = comment + f" {comment}".join(re.split(r"(?<=[{}:\d]) ", PLAIN)) + comment[:-1]
        assert text.count(name) > 2 * 15
        found = read(folder, text)
        assert found.net == wanted.net == theirs(text)
        assert found.strange == wanted.strange
        lines = text.split("\n")
        assert [lines[number - 1].startswith("layer") for number in found.lines] == [True, True]
        for quote in "\"'":
            string = f"{name}{ending}{{}}#'\\\\".replace("'", "\\'").replace('"', '\\"')
            text = PLAIN.replace('"conv"', f"{quote}{string}{quote}")
            found = read(folder, text)
            assert found.net == theirs(text)
            assert name in found.net.layer[0].top[0]
            assert (found.lines, found.strange) == (wanted.lines, wanted.strange)


def test_comments_of_published_files(folder):
    text = "#  transform_param {\n#    scale: 0.017\n#    mirror: false\n#  }\n# layer: [\n# layers {\n"
    load_caffe(read(folder, text + PLAIN).path)
    load_caffe(read(folder, PLAIN.replace("layer {", "layer { # x_param {\n", 1)).path)


# Random networks, written in random ways.

STRINGS = st.text(st.sampled_from("ab_#\"'\\{}<>[]:;,\n\t\0é水😀 0x"), max_size=8)
GAPS = st.sampled_from([" ", "\n", "\t", "\r\n", " # layer {\n", "#\n", "# \"\n  # top: '\n", "\v\f "])


@st.composite
def quoted(draw, value):
    """A string, whole or in pieces, with characters as they are or escaped."""
    pieces = []
    cut = draw(st.integers(0, len(value)))
    for part in (value[:cut], value[cut:]):
        quote = draw(st.sampled_from("\"'"))
        escapes = {"\\": "\\\\", "\n": "\\n", "\0": "\\000", quote: f"\\{quote}"}
        written = []
        for letter in part:
            octets = "".join(f"\\{byte:03o}" for byte in letter.encode())
            # Python's parser does not read a backslash that is written so.
            wide = f"\\U{ord(letter):08x}" if letter != "\\" else "\\x5C"
            choices = [escapes.get(letter, letter), octets, wide]
            written.append(draw(st.sampled_from(choices)))
        pieces.append(quote + "".join(written) + quote)
    return draw(GAPS).join(pieces)


@st.composite
def scalar(draw, field):
    """A value of a field as it may be written."""
    if field.type == Field.TYPE_STRING:
        return draw(quoted(draw(STRINGS)))
    if field.type == Field.TYPE_BOOL:
        return draw(st.sampled_from(["true", "false", "True", "False", "t", "f", "0", "1"]))
    if field.type == Field.TYPE_ENUM:
        chosen = draw(st.sampled_from(list(field.enum_type.values)))
        return draw(st.sampled_from([chosen.name, str(chosen.number)]))
    if field.type == Field.TYPE_FLOAT:
        number = draw(st.floats(0, 1e30))
        forms = [repr(number), f"{number!r}f", f"{number:.3e}", f"-{number!r}", "inf", "-inf", "-Infinity", ".5", "3.",
                 "12", "0", "-7", "1e39", "1.5E+3F"]  # fmt: skip
        return draw(st.sampled_from(forms))
    bits = 63 if field.type == Field.TYPE_INT64 else 31
    number = draw(st.sampled_from([0, 1, 7, 8, 4711, 2**bits - 1]))
    forms = [str(number), hex(number), hex(number).upper(), f"0{number:o}"]
    if field.type == Field.TYPE_UINT32:
        forms.append(str(2**32 - 1))
    else:
        forms += [f"-{number}", f"-{hex(number)}", str(-(2**bits))]
    return draw(st.sampled_from(forms))


@st.composite
def fields(draw, kind, depth=0):
    """The inside of a message."""
    text = draw(GAPS)
    names = st.permutations(sorted(kind.fields_by_name))
    for field in map(kind.fields_by_name.get, draw(names)[: draw(st.integers(0, 4))]):
        inside = field.message_type
        if inside is not None and depth > 3:
            continue
        count = draw(st.integers(0 if field.is_repeated else 1, 3 if field.is_repeated else 1))
        values = []
        for _ in range(count):
            if inside is None:
                values.append(draw(scalar(field)))
            else:
                ends = draw(st.sampled_from(["{}", "<>"]))
                values.append(ends[0] + draw(fields(inside, depth + 1)) + ends[1])
        colon = ":" if inside is None else draw(st.sampled_from(["", ":"]))
        gap = draw(GAPS)
        if field.is_repeated and draw(st.booleans()):
            text += f"{field.name}{gap}:{gap}[{f'{gap},{gap}'.join(values)}]"
            text += draw(st.sampled_from([gap, f"{gap};", ","]))
        else:
            for value in values:
                text += f"{field.name}{gap}{colon}{gap}{value}{draw(st.sampled_from([gap, f'{gap};', f',{gap}']))}"
    return text


@fast
@given(st.data())
def test_random_texts_mean_what_protobuf_says(folder, data):
    text = data.draw(fields(NET.DESCRIPTOR))
    net = theirs(text)
    if net.layer and net.layers:
        with pytest.raises(eb.ExcitationError, match="mixes the dialects"):
            read(folder, text)
        return
    found = read(folder, text)
    assert found.net == net
    assert len(found.lines) == len(found.strange) == len(net.layer) + len(net.layers)


PIECES = ["layer", "name", ":", "{", "}", "<", ">", "[", "]", ",", ";", "'a'", '"b"', "1", "-1", "0x1f", "017", "1.5f",
          "inf", "true", "dim", "input", "input_dim", "#", "\n", "include", "phase", "TEST", "top", "concat_param",
          "axis", "slice_param", "slice_point"]  # fmt: skip


@fast
@given(st.data())
def test_broken_texts_are_refused_by_both(folder, data):
    """Pieces left out, doubled or exchanged: read to the same network, or refused, as protobuf does.

    Between the two lie fields that are not known, of which the reader skips some.
    """
    text = (
        'input : "data" input_dim : [ 1 , 3 ] layer { name : "a" "b" ; top : \'x\' include < phase : TEST > '
        "concat_param : { axis : -1 } slice_param { slice_point : 0x1f , slice_point : 017 } }"
    )
    pieces = text.split(" ")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(pieces) - 1))
        pieces[place : place + data.draw(st.integers(0, 1))] = data.draw(st.lists(st.sampled_from(PIECES), max_size=1))
    text = " ".join(pieces)
    if not parses(text, allow_unknown_field=True):
        with pytest.raises(eb.ExcitationError):
            read(folder, text)
    elif parses(text):
        assert read(folder, text).net == theirs(text)


def test_values_that_python_s_parser_reads_otherwise(folder):
    """What Caffe's own (C++) parser reads: signs and numbers apart, NaN, halves of characters."""
    net = read(folder, 'state { level: - # why\n 5 } layer { bottom: "\\ud83d\\ude00" exp_param { shift: - inf } }').net
    assert (net.state.level, net.layer[0].bottom[0]) == (-5, "😀")
    assert net.layer[0].exp_param.shift == -math.inf
    assert math.isnan(read(folder, "layer { exp_param { shift: nan } }").net.layer[0].exp_param.shift)


def test_unknown_fields_of_any_form_are_skipped(folder):
    values = [
        "1",
        "- inf",
        "WORD",
        "\"a\" 'b'",
        "[1, 2, -3f]",
        "[]",
        "{ }",
        "< more { a: 1, b: 'x'; } >",
        "[{ a: 1 }, <>]",
    ]
    noise = "\n".join(f"more: {value}" for value in values)
    found = read(folder, PLAIN.replace('name: "conv"', f'name: "conv" {noise} more {{ deep < a: [] > }}'))
    assert found.net == theirs(PLAIN)
    assert found.strange == (("more",) * 5, ())


REFUSED = {
    "name: 'a\n'": "does not end on its line",
    'name: "a': "does not end on its line",
    "name: a": "'name' is given 'a': a string in quotes is expected",
    "name: \"\\q\"": r"the escape '\\\\q' does not exist",
    "name: '\\777'": "'name' is given",
    "name: '\\xff'": "is not UTF-8",
    "name: '\\ud800'": "'name' is given",
    "name: '\\U00110000'": "'name' is given",
    "name: 'a' name: 'b'": "'name' is given twice",
    "name: ['a']": "as a list, but takes one value",
    "name { }": "takes a value, not a message",
    "name 'a'": "':' or '{' is expected",
    "state: 5": "'state' is a message",
    "input_dim: [1, 2": "',' or '\\]' is expected in the list of 'input_dim', not the end",
    "input_dim: [1 2]": "',' or '\\]'",
    "input_dim: [1,]": "a value of 'input_dim' is expected",
    "input_dim: 1.0": "a whole number is expected",
    "input_dim: 08": "a whole number is expected",
    "input_dim: 0x": "a space is missing",
    "input_dim: 1a": "a space is missing",
    "input_dim: 1.2.3": "a space is missing",
    "input_dim: 9223372036854775808": "from -9223372036854775808 to 9223372036854775807",
    f"input_dim: {'9' * 10_000}": "a whole number is expected",
    "input_dim: 'x'": "takes no string",
    "input_dim: ,": "a value of 'input_dim' is expected, not ','",
    "layer { dropout_param { dropout_ratio: 0x1 } }": "a decimal number",
    "layer { dropout_param { dropout_ratio: 01.5 } }": "a decimal number",
    "layer { dropout_param { dropout_ratio: WORD } }": "a decimal number",
    "layer { lrn_param { local_size: -1 } }": "from 0 to 4294967295",
    "layer { include { phase: LATER } }": "one of TRAIN, TEST is expected",
    "layer { include { phase: 7 } }": "one of TRAIN, TEST is expected",
    "layer { convolution_param { bias_term: 2 } }": "true or false is expected",
    "layer { convolution_param { bias_term: -1 } }": "no sign",
    "layer { name: 'x' >": "the name of a field or '}' is expected, not '>'",
    "layer { [a.b.c]: 1 }": "in brackets",
    "layer { name: 'x'": "not the end of the file",
    "} layer { }": "the name of a field is expected, not '}'",
    "// layer": "the character '/' has no meaning",
    "name: `x`": "the character '`'",
    "näme: 'x'": "the character 'ä'",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_refusals_name_the_line(folder, text):
    with pytest.raises(
        eb.ExcitationError, match=f"line 2: not the text of a Caffe network: .*{REFUSED[text]}"
    ) as caught:
        read(folder, f"# first\n{text}")
    assert len(str(caught.value).splitlines()) == 1


def test_layers_as_a_list(folder):
    layers = [
        "{ name: 'a' type: 'Power' bottom: 'data' top: 'a' more { } }",
        "< name: 'b' type: 'ReLU' bottom: 'a' top: 'b' >",
    ]
    text = "input: 'data' input_shape { dim: [1, 3, 6, 7] }\nlayer: [\n" + ",\n".join(layers) + "]"
    found = read(folder, text)
    assert (found.lines, found.strange) == ((3, 4), (("more",), ()))
    assert found.net == theirs(text.replace("more { }", ""))


def test_damaged_letters(folder):
    """Single characters exchanged, doubled, left out: read, or refused in one sentence."""
    generator = random.Random(5)
    text = (
        PLAIN + 'layer { name: "a#" \'b\' type: "Power" bottom: "conv" top: "x" # {"\n power_param: < shift: .5f; > }'
    )
    letters = [*sorted(set(text)), "\0", "\\", "#", "'", "[", "]", "9", "é"]
    read_count = 0
    for _ in range(400):
        damaged = list(text)
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(len(damaged))
            damaged[place : place + generator.randint(0, 2)] = generator.choices(letters, k=generator.randint(0, 2))
        (folder / "net.prototxt").write_text("".join(damaged), encoding="utf-8")
        said = ""
        try:
            load_caffe(folder / "net.prototxt")
            read_count += 1
        except eb.ExcitationError as error:
            said = str(error)
        assert len(said) < 700
        assert len(said.splitlines()) <= 1
    assert 20 < read_count < 380
