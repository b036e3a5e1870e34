"""Small networks with a story, each printed and written to a workbook: ``minnet demo NAME``."""
