"""Experiments with phrases and regions (Sec. 4.3 of the paper)."""
