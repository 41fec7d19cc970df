"""Training the classifiers of the symbol world."""
