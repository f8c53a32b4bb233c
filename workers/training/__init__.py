"""From labelled texts to weights: a run, its data, its losses, its teachers, and what is fitted at its end."""
