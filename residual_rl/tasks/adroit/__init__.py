"""The four Adroit tasks: a hand of 24 joints opens a door, hammers a nail, turns a pen, carries a ball."""
