"""Sanity checks of attention methods: randomisation of weights, convergence of the signals of different classes."""

from ._choice import LEFT_OUT, REDUCED, Checked, applicable, choose_methods
from ._convergence import class_cosines, run_convergence
from ._findings import Findings, Summary, read_findings, summarise
from ._randomisation import MEASURES, maps_by_stage, run_randomisation, strip_figure
from ._report import convergence_chart, convergence_table, randomisation_chart, randomisation_table, summary_table
from ._similarity import (
    cosine,
    gradient_histograms,
    gradient_similarity,
    on_grid,
    rank_correlation,
    structural_similarity,
)
from ._stages import Order, Stage, cascade, list_stages, randomise
from ._subjects import Subject, subjects_of_data, subjects_of_pictures

__all__ = [
    "LEFT_OUT",
    "MEASURES",
    "REDUCED",
    "Checked",
    "Findings",
    "Order",
    "Stage",
    "Subject",
    "Summary",
    "applicable",
    "cascade",
    "choose_methods",
    "class_cosines",
    "convergence_chart",
    "convergence_table",
    "cosine",
    "gradient_histograms",
    "gradient_similarity",
    "list_stages",
    "maps_by_stage",
    "on_grid",
    "randomisation_chart",
    "randomisation_table",
    "randomise",
    "rank_correlation",
    "read_findings",
    "run_convergence",
    "run_randomisation",
    "strip_figure",
    "structural_similarity",
    "subjects_of_data",
    "subjects_of_pictures",
    "summarise",
    "summary_table",
]
