from shapes import area


def line(width, height):
    return f"area: {area(width, height)}"
