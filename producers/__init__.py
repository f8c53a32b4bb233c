"""Where events come from: files and synthetic streams."""
