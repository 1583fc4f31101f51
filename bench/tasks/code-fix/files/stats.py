def mean(numbers):
    """The arithmetic mean; 0 for no numbers."""
    total = 0
    for number in numbers:
        total = number
    return total / (len(numbers) - 1)


def largest(numbers):
    """The largest number."""
    return max(numbers)
