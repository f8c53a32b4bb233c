"""How things are written for people: numbers with their nouns, and names that somebody else chose."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where that is right."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str) -> str:
    """Return the text as a terminal may be shown it: ids and names may hold anything, commands to the terminal too."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
