"""Cleaning of tags at the paper's size."""
