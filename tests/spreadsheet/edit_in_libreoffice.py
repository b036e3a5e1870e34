"""Edit a workbook in LibreOffice as a user does: insert rows and a column, rename the sheet.

Run by a Python that has LibreOffice's module ``uno``:
edit_in_libreoffice.py SOURCE TARGET PROFILE [SHEET CELL], where SHEET is counted from 0.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import uno
from com.sun.star.beans import PropertyValue
from com.sun.star.connection import NoConnectException


def option(name: str, value: object) -> PropertyValue:
    result = PropertyValue()
    result.Name, result.Value = name, value
    return result


def connect(pipe: str):
    local = uno.getComponentContext()
    resolver = local.ServiceManager.createInstanceWithContext(
        "com.sun.star.bridge.UnoUrlResolver", local
    )
    for _ in range(200):
        try:
            return resolver.resolve(f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext")
        except NoConnectException:
            time.sleep(0.1)
    raise SystemExit("LibreOffice does not answer")


def main(source: Path, target: Path, profile: Path, number: int, cell: str) -> None:
    pipe = f"minnet{profile.stat().st_ino}"
    command = ["soffice", f"-env:UserInstallation={profile.as_uri()}", "--headless"]
    command += ["--norestore", f"--accept=pipe,name={pipe};urp;"]
    office = subprocess.Popen(command, start_new_session=True)
    try:
        context = connect(pipe)
        desktop = context.ServiceManager.createInstanceWithContext(
            "com.sun.star.frame.Desktop", context
        )
        book = desktop.loadComponentFromURL(source.as_uri(), "_blank", 0, (option("Hidden", True),))
        sheet = book.Sheets.getByIndex(number)
        sheet.getCellRangeByName(cell).Value = 9.25
        sheet.Rows.insertByIndex(1, 2)
        sheet.Columns.insertByIndex(0, 1)
        sheet.Name = "it's mine"
        book.storeToURL(target.as_uri(), (option("FilterName", "Calc MS Excel 2007 XML"),))
        book.close(True)
        desktop.terminate()
        office.wait(30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(office.pid, signal.SIGKILL)


if __name__ == "__main__":
    number, cell = sys.argv[4:] or (0, "B2")
    main(*map(Path, sys.argv[1:4]), int(number), cell)
