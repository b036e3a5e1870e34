"""Workbooks: writing a network's passes as live formulas, recalculating them, reading them
back, comparing them."""

from minnet.spreadsheet.diff import diff_xlsx
from minnet.spreadsheet.export import Export, export_xlsx
from minnet.spreadsheet.readback import read_xlsx
from minnet.spreadsheet.verify import verify_xlsx

__all__ = ["Export", "diff_xlsx", "export_xlsx", "read_xlsx", "verify_xlsx"]
