"""Pictures of attention maps: overlays and figures."""
