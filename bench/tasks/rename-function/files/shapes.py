def area(width, height):
    return width * height


def double_area(width, height):
    return 2 * area(width, height)
