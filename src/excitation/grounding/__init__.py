"""Phrases point to regions: phrase data sets, region proposals, their scores by attention maps, and what is right."""
