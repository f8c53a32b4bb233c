"""What a set of weights is: where it lies, what it is called, how its parts are loaded into one encoder."""
