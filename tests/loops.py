"""Plain numbers for tests that derive a loss again with loops."""

import math

from draws import MAPS

# Samples of student and teacher of other widths and forms, of one batch.
SHAPES = [((5, 3), (5, 7)), ((3, 2, 3, 5), (3, 4, 2, 1)), ((7, 4), (7, 2, 3))]
AXES = [(c, h, w) for c in range(MAPS[1]) for h in range(MAPS[2]) for w in range(MAPS[3])]


def flat(sample):
    """Channels as lists of plain numbers."""
    return [[value for row in channel for value in row] for channel in sample.tolist()]


def length(vector):
    return math.sqrt(sum(value * value for value in vector))


def normal(vector):
    size = length(vector)
    return [value / size for value in vector]


def naive_sum(student, teacher, term):
    """The batch mean of a term of every element (student, teacher, channel)."""
    total = 0.0
    for b in range(len(student)):
        for c, h, w in AXES:
            total += term(student[b, c, h, w].item(), teacher[b, c, h, w].item(), c)
    return total / len(student)


def softmax(row, temperature=1.0):
    top = max(row)
    powers = [math.exp((value - top) / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def rows(student, teacher):
    return list(zip(student.tolist(), teacher.tolist(), strict=True))


def without(values, k):
    rest = values[:k] + values[k + 1 :]
    return [value / sum(rest) for value in rest]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def huber(x, y):
    gap = abs(x - y)
    return gap**2 / 2 if gap <= 1 else gap - 0.5


def lists(samples):
    return samples.flatten(1).tolist()


def square(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
