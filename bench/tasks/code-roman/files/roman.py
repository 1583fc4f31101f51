VALUES = [(1000, "M"), (500, "D"), (100, "C"), (50, "L"), (10, "X"), (5, "V"), (1, "I")]


def roman(number):
    """The number in Roman numerals."""
    out = ""
    for value, letter in VALUES:
        while number >= value:
            out += letter
            number -= value
    return out
