"""Text that can steer no terminal: what a venue or a strategy says is shown, never obeyed."""


def printable(text: str, allowed: str = "") -> str:
    """Return the text with control characters, escapes and the like as Python would write them.

    Args:
        text: whatever it is.
        allowed: characters that stay as they are, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in allowed else repr(c)[1:-1] for c in text)
