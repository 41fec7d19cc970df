"""Names of layers, and the escapes for module names that contain `#` or `:` or equal `input`."""

from __future__ import annotations

INPUT = "input"
"""The layer name that stands for the images themselves."""


def is_input(name: str) -> bool:
    """Whether a layer name refers to an input: `input`, or `input[0]` or `input[name]` for one of several inputs."""
    return name == INPUT or (name.startswith(f"{INPUT}[") and name.endswith("]"))


def written(name: str) -> str:
    r"""Convert the dotted name of a module to a layer name.

    A backslash escapes the next character. `c\#2` is the module with the name `c#2`, and `c#2` is the second call of
    `c`. `\input` is a module with the name `input`, and `input` is the images.
    """
    if is_input(name):
        return f"\\{name}"
    if "#" in name or ":" in name or "\\" in name:
        for sign in "\\#:":
            name = name.replace(sign, f"\\{sign}")
    return name


def nth(counts: dict[str, int], name: str) -> str:
    """Return a name for this call: `c`, then `c#2`, `c#3`. `counts` stores the number of calls for each name."""
    count = counts[name] = counts.get(name, 0) + 1
    return name if count == 1 else f"{name}#{count}"


def divisions(text: str) -> list[tuple[str, str, str]]:
    """Return every split of a layer name at an unescaped sign: the text before it without escapes, the sign, the rest.

    The last item is the whole text, without a sign.
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
