"""Which quotes nobody should act on although they can be read: far off what is being paid.

A quote is delivered whatever it says; it fills no order while it is crossed, or while its middle is
more than a fifth off a trade of about the same time.
"""

FAR_OFF = 0.2


def is_far_off(bid: float, ask: float, traded: float) -> bool:
    """Whether the middle of a quote is too far from the price of a trade to be believed."""
    return abs((bid + ask) * 0.5 - traded) > FAR_OFF * traded
