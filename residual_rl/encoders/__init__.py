"""Encoders: what an environment shows, such as images, turned into a vector of features once a step."""
