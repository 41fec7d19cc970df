"""How fast the engine is, in units of the network's own forward pass: `make bench`."""
