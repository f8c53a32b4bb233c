"""How good an encoder is on labelled texts."""
