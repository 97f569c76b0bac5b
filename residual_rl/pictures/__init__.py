"""Show episodes in a window, as a video or as a film strip."""
