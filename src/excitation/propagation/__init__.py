"""The engine: record one forward pass, then carry signals over the record."""
