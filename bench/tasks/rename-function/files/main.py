import shapes
from report import line


def biggest(sizes):
    return max(shapes.area(w, h) for w, h in sizes)


if __name__ == "__main__":
    print(line(2, 3), biggest([(1, 2), (3, 4)]))
