"""Pictures and annotated data sets: image files, readers of published formats, and the symbol world."""
