"""Training of classifiers on image-level labels and on the tags of uploads (Secs. 4.1 and 4.3, Appendix B)."""
