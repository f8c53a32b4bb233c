"""Pure rules: no I/O, no clock, no threads, no settings. Time is an argument."""
