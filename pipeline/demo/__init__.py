"""The demo: the whole pipeline in one process, a receiver that verifies what arrives, and something to look at."""
