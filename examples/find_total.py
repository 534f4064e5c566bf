"""Find the total of a receipt: the largest amount in a line that speaks of it.

python examples/find_total.py examples/receipt.jpg
"""

import re
import sys

from ocr import TextReader


def main(*receipts: str) -> None:
    """Print the total of each receipt, or that none was found."""
    reader = TextReader.from_pretrained("english")
    for receipt in receipts:
        rows: dict[int, str] = {}
        for line in reader.read(receipt).lines:
            rows[line.row] = f"{rows.get(line.row, '')} {line.text}"
        amounts = [
            float(amount.replace(",", "."))
            for text in rows.values()
            if "total" in text.lower()
            for amount in re.findall(r"\d+[.,]\d\d\b", text)
        ]
        print(receipt, max(amounts) if amounts else "no total found", sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
