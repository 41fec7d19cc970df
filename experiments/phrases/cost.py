"""The cost of the maps of a caption of 20 words, as a ratio to that of one word.

`python -m experiments.phrases.cost`, on a quiet machine. One core; processor time; words and captions take turns.
"""

from __future__ import annotations

import argparse

import torch

import excitation as eb

from ..speed.timing import take_turns, use_clock

WORDS = 20


def main() -> None:
    """Print the ratio for both networks, and for each method of Excitation Backprop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--models", nargs="+", default=["symbols:tags", "lite"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    use_clock("processor")
    for spec in given.models:
        model = eb.load_model(spec)
        size = (300, 400)
        images = torch.rand(1, 3, *size)
        count = 69 if spec == "symbols:tags" else 1000
        words = [int(i) for i in torch.linspace(0, count - 1, WORDS)]
        for method in ("mwp", "c-mwp", "r-mwp"):
            explainer = eb.Explainer(model, method=method)
            times = take_turns(
                {
                    "one word": lambda: explainer(images, words[:1]),  # noqa: B023 - called at once
                    "caption": lambda: explainer(images, words),  # noqa: B023
                    "apart": lambda: [explainer(images, [word]) for word in words],  # noqa: B023
                },
                given.turns,
            )
            print(
                f"{spec}, {method}, {size[0]} x {size[1]}: {WORDS} words cost {times.ratio('caption', 'one word')}"
                f" times one word ({times.milliseconds('one word')} ms); one by one {times.ratio('apart', 'one word')}",
                flush=True,
            )


if __name__ == "__main__":
    main()
