"""Which networks can be explained, and how exactly: the support table, and what makes it."""
