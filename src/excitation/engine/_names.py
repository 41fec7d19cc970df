"""Names of layers: how a module's own name is written where `#`, `:` or `input` mean something else."""

from __future__ import annotations

INPUT = "input"
"""The layer name that stands for the images themselves."""


def is_input(name: str) -> bool:
    """Whether a layer's name means images: `input`, or `input[0]` or `input[name]` where there are several inputs."""
    return name == INPUT or (name.startswith(f"{INPUT}[") and name.endswith("]"))


def written(name: str) -> str:
    r"""A module's dotted name as a layer's name.

    A backslash takes the meaning from what follows: `c\#2` is the module called `c#2`, `c#2` the second call of `c`;
    `\input` is a module called `input`, `input` the images.
    """
    if is_input(name):
        return f"\\{name}"
    if "#" in name or ":" in name or "\\" in name:
        for sign in "\\#:":
            name = name.replace(sign, f"\\{sign}")
    return name


def nth(counts: dict[str, int], name: str) -> str:
    """A name for this call: `c`, then `c#2`, `c#3`; `counts` holds how often each name was asked for."""
    count = counts[name] = counts.get(name, 0) + 1
    return name if count == 1 else f"{name}#{count}"


def divisions(text: str) -> list[tuple[str, str, str]]:
    """Every way to divide a layer's name: what stands before an unescaped sign, without escapes; the sign; the rest.

    The last is the whole text, without a sign.
    """
    found, before, place = [], "", 0
    while place < len(text):
        if text[place] == "\\" and place + 1 < len(text):
            place += 1
        elif text[place] in "#:":
            found.append((before, text[place], text[place + 1 :]))
        before += text[place]
        place += 1
    return [*found, (before, "", "")]
