"""Recorded posts through everything, in event time: reading, scoring what is raw, playing, and writing what came out."""
