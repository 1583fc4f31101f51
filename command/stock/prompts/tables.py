"""The module tablefile of code that run.py runs: rows(FILE) reads a table as dicts, and
save(ROWS, FILE) writes one."""

import io
import itertools
import json
import os
import re

PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d+)?")
POINT_NUMBER = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+\.\d+")  # 1,234.50
COMMA_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*|[1-9]\d{0,2}(\.\d{3})+),(\d+)")  # 1.234,50
RULE = re.compile(r"[\s|:=+-]*[-=]{2,}[\s|:=+-]*")


def rows(file):
    """The rows of a table: CSV with any separator, HTML, markdown, JSON, or columns
    that are aligned with spaces. Numbers are numbers, unless that would be a guess."""
    if not isinstance(file, (str, os.PathLike)):
        raise TypeError("rows() takes the name of a file; save(ROWS, FILE) writes a table")
    with open(file, "rb") as f:
        text = decoded(f.read())
    for read in (json_table, html_table, markdown_table, separated_table, aligned_table):
        table = read(text)
        if table:
            return table if isinstance(table[0], dict) else with_header(table)
    raise ValueError(f"{file} has no table that rows() can read; open it and read its text")


def plain_header(file):
    """The first row of a file as csv.reader has it, None where it has none."""
    import csv

    with open(file, encoding="utf-8", errors="replace", newline="") as f:
        try:
            return next(csv.reader(f), None)
        except csv.Error:
            return None


def save(table, file):
    """Writes rows as JSON, as tab-separated values or as CSV, by the name of the file."""
    table = list(table)
    with open(file, "w", encoding="utf-8", newline="") as f:
        if str(file).endswith(".json"):
            json.dump(table, f, ensure_ascii=False, indent=2)
            return
        import csv

        names = list(dict.fromkeys(name for row in table for name in row))
        writer = csv.DictWriter(
            f, names, delimiter="\t" if str(file).endswith(".tsv") else ",", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(table)


def decoded(raw):
    encodings = ["utf-16"] if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig"]
    for encoding in encodings + ["cp1252"]:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            pass
    return raw.decode("latin-1")


def json_table(text):
    """The longest list of objects, or one object a line."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            return None
    lists = (
        [value] if isinstance(value, list) else [v for v in value.values() if isinstance(v, list)]
    )
    lists = [v for v in lists if v and all(isinstance(row, dict) for row in v)]
    return max(lists, key=len, default=None)


def html_table(text):
    if "<table" not in text.lower():
        return None
    from html.parser import HTMLParser

    tables, open_cell = [], []

    class Page(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag == "table":
                tables.append([])
            elif tag == "tr" and tables:
                tables[-1].append([])
            elif tag in ("td", "th") and tables and tables[-1]:
                open_cell[:] = [[]]
                tables[-1][-1].append(open_cell[0])

        def handle_endtag(self, tag):
            if tag in ("td", "th", "tr", "table"):
                open_cell.clear()

        def handle_data(self, data):
            for words in open_cell:
                words.extend(data.split())

    Page().feed(text)
    return max(
        ([[" ".join(cell) for cell in row] for row in table if row] for table in tables),
        key=len,
        default=None,
    )


def markdown_table(text):
    """The longest block of lines with bars whose second line is a rule."""
    lines, found = text.splitlines(), []
    for at, line in enumerate(lines):
        if at and "|" in line and RULE.fullmatch(line):
            block = itertools.takewhile(lambda row: "|" in row, lines[at + 1 :])
            found.append([cells(row) for row in [lines[at - 1], *block]])
    return max(found, key=len, default=None)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def separated_table(text):
    """CSV: the separator that cuts most lines into equally many cells."""
    import csv

    agreeing, table = 1, None
    for separator in ",;\t|":
        reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
        lines = [[cell.strip() for cell in row] for row in reader if any(map(str.strip, row))]
        widths = [len(row) for row in lines if len(row) > 1]
        width = max(sorted(set(widths)), key=widths.count, default=0)
        same = [row for row in lines if len(row) == width]
        # Lines of prose have commas, too: a table is most of its file.
        if len(same) > agreeing and 5 * len(same) >= 4 * len(lines):
            agreeing = len(same)
            table = lines[lines.index(same[0]) :]  # a short row is one, too
    return table


def aligned_table(text):
    """Columns between which all lines have blanks; a rule stands under the header."""
    lines = [line.expandtabs() for line in text.splitlines() if line.strip()]
    ruled = next((at for at, line in enumerate(lines) if at and RULE.fullmatch(line)), 1)
    lines = [line for line in lines[ruled - 1 :] if not RULE.fullmatch(line)]
    if len(lines) < 2:
        return None
    width = max(map(len, lines))
    blank = "".join(
        " " if all(not line[at : at + 1].strip() for line in lines) else "x" for at in range(width)
    )
    wide = [m.span() for m in re.finditer("  +", lines[0])]
    gaps = [m.span() for m in re.finditer("(?<=x) +(?=x)", blank)]
    gaps = [(a, b) for a, b in gaps if any(a < end and start < b for start, end in wide)]
    if not gaps:
        return None
    edges = [0] + [end for _, end in gaps] + [width]
    return [[line[a:b].strip() for a, b in zip(edges, edges[1:])] for line in lines]


def with_header(table):
    """The rows below the header. A first row with a number in it is no header."""
    headless = any(map(PLAIN_NUMBER.fullmatch, table[0]))
    names = []
    for at, name in enumerate(table[0], 1):
        name = f"column {at}" if headless or not name else name
        names.append(name if name not in names else f"{name} {at}")
    for row in table:
        if len(row) > len(names):
            raise ValueError(f"a row has {len(row)} cells, and the header {len(names)}: {row}")
    body = [row + [""] * (len(names) - len(row)) for row in table[not headless :]]
    columns = [numbers(column) for column in zip(*body)]
    return [dict(zip(names, row)) for row in zip(*columns)]


def numbers(column):
    """Cells as numbers where most of them are some. A column of codes such as 007
    stays text, and so does 1,234, which has two readings."""
    full = [cell for cell in column if cell]
    comma = [m for m in map(COMMA_NUMBER.fullmatch, full) if m]
    if comma and any(len(m[3]) != 3 or m[2] or m[1] == "0" for m in comma):
        plain = lambda cell: cell.replace(".", "").replace(",", ".")
    elif any(map(POINT_NUMBER.fullmatch, full)):
        plain = lambda cell: cell.replace(",", "")
    else:
        plain = lambda cell: cell
    fits = [bool(PLAIN_NUMBER.fullmatch(plain(cell))) for cell in full]
    if 2 * sum(fits) <= len(full) or any(re.match(r"[-+]?0\d", cell) for cell in full):
        return column
    return [
        as_number(plain(cell), cell) if PLAIN_NUMBER.fullmatch(plain(cell)) else cell
        for cell in column
    ]


class Decimal(float):
    """A number that is written as it was read: 12.50, not 12.5."""

    def __str__(self):
        return self.text

    def __reduce__(self):
        return float, (float(self),)


def as_number(plain, text):
    if plain.lstrip("+-").isdigit():
        return int(plain)
    number = Decimal(plain)
    number.text = text
    return number
