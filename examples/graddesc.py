"""Your own optimizer beside SGD, a row of cells for each step.

python examples/graddesc.py [graddesc.xlsx]
"""

import sys

from minnet import SGD, Optimizer, verify_xlsx
from minnet.demos.graddesc import EXTRAS, network, points
from minnet.spreadsheet.book import CONTENTS, Book
from minnet.spreadsheet.ledger import Ledger
from minnet.spreadsheet.xlsx import Rows, save

path = sys.argv[1] if len(sys.argv) > 1 else "graddesc.xlsx"


class ByItsSign(Optimizer):
    """Steps of one length, whatever the gradient's: only its sign counts."""

    rule = "new weight = weight − rate × gradient / |gradient|"

    def update(self, parameter, gradient, lr, state):
        return parameter - lr * gradient / (gradient * gradient + 1e-12) ** 0.5


x, y = points()
book, contents = Book(), Rows()
book.sheet(CONTENTS, contents)
contents.put(1, 1, "Two ways downhill", style=book.styles.text("heading"))
for row, (name, optimizer) in enumerate([("SGD", SGD(1e-4)), ("sign", ByItsSign(0.1))], 3):
    model = network(optimizer)
    ledger = Ledger(book, name, name, model, x, y, 3, EXTRAS)
    book.link(CONTENTS, (row, 1), name, name)
    for epoch in range(3):
        print(f"{name}, epoch {epoch + 1}: loss {sum(ledger.losses(epoch)) / len(x):.2f}")
save(book.workbook, book.rows, path)
print(verify_xlsx(path).summary())
