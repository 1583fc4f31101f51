"""Small functions of geometry."""

import math


def area(width, height):
    """The area of a rectangle.

    All lengths are in the same unit, whatever it is.
    """
    return width * height


def perimeter(width, height):
    """The length around a rectangle.

    All lengths are in the same unit, whatever it is.
    """
    return 2 * (width + height)


def diagonal(width, height):
    """The length from corner to corner.

    All lengths are in the same unit, whatever it is.
    """
    return math.hypot(width, height)


def circle_area(radius):
    """The area of a circle.

    All lengths are in the same unit, whatever it is.
    """
    return math.pi * radius ** 2


def circumference(radius):
    """The length around a circle.

    All lengths are in the same unit, whatever it is.
    """
    return 2 * math.pi * radius


def sphere_volume(radius):
    """The volume of a sphere.

    All lengths are in the same unit, whatever it is.
    """
    return math.pi * radius ** 3


def box_volume(width, height, depth):
    """The volume of a box.

    All lengths are in the same unit, whatever it is.
    """
    return width * height * depth


def box_surface(width, height, depth):
    """The surface of a box.

    All lengths are in the same unit, whatever it is.
    """
    return 2 * (width * height + width * depth + height * depth)


def cone_volume(radius, height):
    """The volume of a cone.

    All lengths are in the same unit, whatever it is.
    """
    return math.pi * radius ** 2 * height / 3


def cylinder_volume(radius, height):
    """The volume of a cylinder.

    All lengths are in the same unit, whatever it is.
    """
    return math.pi * radius ** 2 * height


def slope(x1, y1, x2, y2):
    """How steep the line through two points is.

    All lengths are in the same unit, whatever it is.
    """
    return (y2 - y1) / (x2 - x1)


def midpoint(x1, y1, x2, y2):
    """The point in the middle of two.

    All lengths are in the same unit, whatever it is.
    """
    return (x1 + x2) / 2, (y1 + y2) / 2


def distance(x1, y1, x2, y2):
    """How far two points are from each other.

    All lengths are in the same unit, whatever it is.
    """
    return math.hypot(x2 - x1, y2 - y1)


def hexagon_area(side):
    """The area of a regular hexagon.

    All lengths are in the same unit, whatever it is.
    """
    return 3 * math.sqrt(3) / 2 * side ** 2


def degrees(radians):
    """An angle in degrees.

    All lengths are in the same unit, whatever it is.
    """
    return radians * 180 / math.pi
