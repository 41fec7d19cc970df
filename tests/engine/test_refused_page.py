"""The page of what is refused is that of the code."""

from __future__ import annotations

from experiments import refusals
from tests.conftest import document


def test_the_page_is_up_to_date():
    assert document(refusals.PAGE.name).read_text() == refusals.page(), "python -m experiments.refusals writes it"
