"""Bounds of selections: maxima, minima, and choices between several neurons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ._bounds import SAME, Bounds, Limit, alike, compact, least_of, most_of, negated


def positions(bounds: Bounds) -> tuple[Limit, Limit]:
    """Return where in its interval each neuron is silent, twice: 0 for the lower limit, 1 for the upper limit.

    A constant is no neuron. It has the positions plus and minus infinity, which no minimum and maximum selects.
    """
    lower, upper = bounds
    if bounds.uniform:
        assert not isinstance(lower, torch.Tensor)
        assert not isinstance(upper, torch.Tensor)
        assert not isinstance(bounds.silent, torch.Tensor)
        if math.isinf(lower) or math.isinf(upper):
            place = 0.5 if lower == -upper else float(math.isinf(lower))
            return place, place
        if lower == upper:
            return math.inf, -math.inf
        place = 0.0 if bounds.silent is None else (bounds.silent - lower) / (upper - lower)
        return place, place
    low, high = alike(lower, upper)
    silent, low = alike(bounds.origin, low)
    places = ((silent - low) / (high - low)).nan_to_num(0.0)
    places = torch.where(low.isinf(), torch.where(high.isinf(), 0.5, 1.0), torch.where(high.isinf(), 0.0, places))
    constant = low == high
    return torch.where(constant, math.inf, places), torch.where(constant, -math.inf, places)


def selected(bounds: Bounds, first: Limit, last: Limit) -> Bounds:
    """Return the bounds of a neuron that equals one of several neurons, with its silent value.

    If all candidates are silent at the same position of their intervals, so is the result. Otherwise, it is silent in
    the middle of its interval. This commutes with factors, shifts and negation, and with nested selections.

    Args:
        bounds: limits of the result.
        first: smallest position of the candidates (see `positions`).
        last: largest position of the candidates.
    """
    lower, upper = bounds
    if not any(isinstance(number, torch.Tensor) for number in (lower, upper, first, last)):
        place = (first if last - first <= SAME else 0.5) if first <= last else 0.0
        if place == 0:
            return bounds
        return bounds.silent_at(upper if place == 1 else lower + place * (upper - lower))
    first, last = alike(first, last)
    place = torch.where(first > last, 0.0, torch.where(last - first <= SAME, first, 0.5))
    if not bool(place.any()):
        return bounds
    lower, upper = alike(lower, upper)
    place, lower = alike(place, lower)
    between = torch.where(place == 1, upper, lower + place * (upper - lower).nan_to_num(0.0, 0.0, 0.0))
    return bounds.silent_at(compact(torch.where(place == 0, lower, between)))


def selection_of(bounds: Bounds, terms: Sequence[Bounds]) -> Bounds:
    """Return bounds with the silent value of a selection from several numbers."""
    if all(term.plain for term in terms):
        return bounds
    first, last = positions(terms[0])
    for term in terms[1:]:
        low, high = positions(term)
        first, last = least_of(first, low), most_of(last, high)
    return selected(bounds, first, last)


def maximum(terms: Sequence[Bounds]) -> Bounds:
    """Bounds of the largest of several numbers."""
    lower, upper = terms[0]
    for other_lower, other_upper in terms[1:]:
        lower, upper = most_of(lower, other_lower), most_of(upper, other_upper)
    return selection_of(Bounds(lower, upper), terms)


def minimum(terms: Sequence[Bounds]) -> Bounds:
    """Bounds of the smallest of several numbers."""
    return negated(maximum([negated(term) for term in terms]))


def hull(terms: Sequence[Bounds]) -> Bounds:
    """Bounds of a number that equals one of several numbers: the union of their intervals."""
    lower, upper = terms[0]
    for other_lower, other_upper in terms[1:]:
        lower, upper = least_of(lower, other_lower), most_of(upper, other_upper)
    return selection_of(Bounds(lower, upper), terms)
