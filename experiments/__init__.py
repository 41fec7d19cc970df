"""Long experiments: each has its own make target and writes below `runs`."""
