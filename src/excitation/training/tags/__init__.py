"""Tags of uploads: cleaning, the dictionary, and reports on removed uploads."""

from ._clean import THRESHOLD, Cleaned, clean_uploads, read_cleaned, read_dictionary
from ._steps import STEPS, near_duplicates

__all__ = ["STEPS", "THRESHOLD", "Cleaned", "clean_uploads", "near_duplicates", "read_cleaned", "read_dictionary"]
