"""What the figures look like for people: on the terminal, and in engines/README.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from engines.training.accuracy_data import ALL_SETS
from engines.training.accuracy_figures import Figure, shown
from engines.training.accuracy_read import Reading, confidence_table, confusions, kind_of_error

BEGIN = "<!-- figures: written by `make accuracy ARGS=--update` -->"
END = "<!-- end of the figures -->"
RIGHT = "right"
MOST_CONFUSIONS = 16
_SETS = (*ALL_SETS, "all", "rendered", "real crops")


def kinds_of_errors(readings: Sequence[Reading]) -> Counter[str]:
    """How many readable plates went wrong in which way, end to end."""
    return Counter(kind_of_error(reading) or RIGHT for reading in readings)


def errors_text(readings: Sequence[Reading]) -> str:
    """Kinds of errors, confusions and the reliability table."""
    lines = [f"\nof {len(readings)} plates with a known text (good and hard), photograph to text:"]
    lines += [f"  {count:4d}  {kind}" for kind, count in kinds_of_errors(readings).most_common()]
    lines.append(f"confusions (is>read): {_confusions(readings)}")
    lines.append("\nconfidence     reads  said   right")
    lines += [
        f"{low:.1f} to {high:.1f}     {count:5d}  {mean:.3f}  {right:.3f}"
        for low, high, count, mean, right in confidence_table(readings)
    ]
    return "\n".join(lines)


def _confusions(readings: Sequence[Reading]) -> str:
    pairs = confusions(readings).most_common(MOST_CONFUSIONS)
    return ", ".join(f"{pair} {count}" for pair, count in pairs)


def markdown(figures: Sequence[Figure], readings: Sequence[Reading], said: str) -> str:
    """The same as Markdown, one row a figure and one column a set."""
    lines = [f"{said[0].upper()}{said[1:]}.", ""]
    for sets, heading in ((_SETS[:7], "real photographs"), (_SETS[7:], "elsewhere")):
        mine = [f for f in figures if f.of in sets]
        used = [name for name in sets if any(f.of == name for f in mine)]
        lines.append(f"| {heading} | {' | '.join(used)} |")
        lines.append("|---" * (len(used) + 1) + "|")
        for what in dict.fromkeys(f.what for f in mine):
            row = {f.of: _cell(f) for f in mine if f.what == what}
            lines.append(f"| {what} | {' | '.join(row.get(name, '') for name in used)} |")
        lines.append("")
    lines += ["| photograph to text, good and hard plates | plates |", "|---|---|"]
    lines += [f"| {kind} | {count} |" for kind, count in kinds_of_errors(readings).most_common()]
    lines += ["", f"Characters taken for others (is>read): {_confusions(readings)}.", ""]
    lines += ["| confidence | reads | mean | right |", "|---|---|---|---|"]
    lines += [
        f"| {low:.1f} to {high:.1f} | {count} | {mean:.3f} | {right:.3f} |"
        for low, high, count, mean, right in confidence_table(readings)
    ]
    return "\n".join(lines)


def _cell(figure: Figure) -> str:
    value = shown(figure.value, figure)
    if figure.wanted is None:
        return value
    sign = ">=" if figure.better == "higher" else "<="
    limit = f" ({sign} {shown(figure.wanted, figure)})"
    return f"**{value}**{limit}" if figure.met else f"{value}{limit}"


def rewrite(readme: Path, text: str) -> None:
    """Put the figures between their marks. Raises ValueError where there are none."""
    content = readme.read_text(encoding="utf-8")
    if BEGIN not in content or END not in content.split(BEGIN, maxsplit=1)[1]:
        raise ValueError(f"{readme} lacks the lines {BEGIN!r} and {END!r}: put them back")
    before, rest = content.split(BEGIN, maxsplit=1)
    after = rest.split(END, maxsplit=1)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
