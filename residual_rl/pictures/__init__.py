"""Episodes to look at: in a window, as a video, as a film strip."""
