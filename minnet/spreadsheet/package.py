"""The parts of an .xlsx file: a zip of XML documents, from anyone, opened within limits.

A small file can claim to hold terabytes, and a short XML document can expand without end. So the
zip's directory is checked before anything is unzipped, what is unzipped is counted, and XML with
a document type is refused.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar
from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from minnet.errors import WorkbookError, mismatch

MAX_FILE = 64 * 2**20
MAX_PART = 200 * 2**20
MAX_TOTAL = 400 * 2**20
MAX_RATIO = 200  # workbooks of ours compress 16 to 1 at most
MAX_ENTRIES = 10_000
MAX_ELEMENTS = 50_000  # sheets, names or relations
MAX_TEXT = 2**20  # characters between two tags, or bytes of a tag; a cell holds 32,767
REQUIRED = ("[Content_Types].xml", "xl/workbook.xml")

_CHUNK = 2**16
_DIRECTORY_ENTRY = b"PK\x01\x02"
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
# A damaged directory makes zipfile raise nearly anything.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    OverflowError,
    LookupError,
)

T = TypeVar("T")


class Handler(ContentHandler, Generic[T]):
    """A SAX handler that gathers what it finds; names reach it without the root's prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[T] = []
        self._prefix: str | None = None
        self._text: list[str] | None = None
        self._length = 0

    def begin(self, name: str, attrs: AttributesImpl) -> None:
        """Called at each opening tag."""

    def finish(self, name: str) -> None:
        """Called at each closing tag."""

    def listen(self) -> None:
        """Keep the text from here on, until it is taken."""
        self._text, self._length = [], 0

    def take_text(self) -> str:
        """The text since ``listen``."""
        text = "".join(self._text or ())
        self._text = None
        return text

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        if self._prefix is None:
            self._prefix = name[: name.find(":") + 1]
            if not self._prefix:  # as nearly always: spare a million cells the detour
                self.startElement = self.begin  # type: ignore[method-assign]
                self.endElement = self.finish  # type: ignore[method-assign]
        self.begin(name.removeprefix(self._prefix), attrs)

    def endElement(self, name: str) -> None:
        self.finish(name.removeprefix(self._prefix or ""))

    def characters(self, content: str) -> None:
        if self._text is not None:
            self._text.append(content)
            self._length += len(content)
            if self._length > MAX_TEXT:
                raise SAXException(f"a text of more than {MAX_TEXT:,} characters")


class Element(NamedTuple):
    """One element of a small document; attributes are without namespace prefixes."""

    tag: str
    attributes: dict[str, str]
    text: str


class _Elements(Handler[Element]):
    def __init__(self, tags: tuple[str, ...]) -> None:
        super().__init__()
        self._tags = tags
        self._attributes: dict[str, str] = {}

    def begin(self, name: str, attrs: AttributesImpl) -> None:
        if name in self._tags:
            self._attributes = {key.rpartition(":")[2]: value for key, value in attrs.items()}
            self.listen()

    def finish(self, name: str) -> None:
        if name in self._tags:
            self.found.append(Element(name, self._attributes, self.take_text()))


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a workbook's file."""
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device or a pipe might never end
            raise OSError("a directory or device")
        size = status.st_size
        if size > MAX_FILE:
            raise WorkbookError(
                mismatch(
                    f"workbook {str(path)!r}",
                    f"at most {MAX_FILE:,} bytes",
                    f"{size:,} bytes",
                    "Check that this is the right file.",
                )
            )
        return path.read_bytes()
    except OSError as error:
        raise WorkbookError(
            mismatch(
                f"workbook {str(path)!r}",
                "a file that can be read",
                error.strerror or str(error),
                "Check the path and its permissions.",
            )
        ) from error


class Package:
    """The parts of one .xlsx. All that goes wrong is a WorkbookError that names the path."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.path = path
        if data.startswith(_OLD_OFFICE):
            raise self.refusal(
                "an .xlsx workbook",
                "an old .xls file or one with a password",
                "Save it as .xlsx without a password.",
            )
        # Counted before zipfile makes an object of each of them.
        entries = data.count(_DIRECTORY_ENTRY)
        if entries > MAX_ENTRIES:
            raise self.refusal(f"at most {MAX_ENTRIES:,} parts", f"{entries:,}")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            infos = self._zip.infolist()
        except _ZIP_ERRORS as error:
            raise self.refusal("an .xlsx workbook (a zip file)", f"no zip: {error}") from error
        self._parts: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            self._admit(info)
        total = sum(info.file_size for info in infos)
        if total > MAX_TOTAL:
            raise self.refusal(f"at most {MAX_TOTAL:,} bytes unzipped", f"{total:,}")
        for part in REQUIRED:
            if part not in self:
                raise self.refusal(
                    f"the part {part!r}", "a zip without it", "Check that it is an .xlsx."
                )

    def _admit(self, info: zipfile.ZipInfo) -> None:
        part = info.filename
        if part.lower() in self._parts:
            raise self.refusal(f"the part {part!r} once", "it twice")
        if info.flag_bits & 1:
            raise self.refusal(
                "a workbook without a password",
                f"the part {part!r} encrypted",
                "Save it without a password.",
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.refusal(
                "parts stored or deflated", f"{part!r} compressed by method {info.compress_type}"
            )
        if info.file_size > MAX_PART:
            raise self.refusal(
                f"at most {MAX_PART:,} bytes in a part", f"{info.file_size:,} in {part!r}"
            )
        if info.file_size > MAX_RATIO * info.compress_size:
            raise self.refusal(
                f"parts that compress at most {MAX_RATIO} to 1",
                f"{info.file_size:,} bytes from {info.compress_size:,} in {part!r}",
            )
        self._parts[part.lower()] = info

    def refusal(self, expected: str, received: str, advice: str = "") -> WorkbookError:
        """The error to raise about this file."""
        advice = advice or "Save it again from a spreadsheet program, or export it anew."
        return WorkbookError(mismatch(f"workbook {str(self.path)!r}", expected, received, advice))

    @property
    def parts(self) -> list[str]:
        """The names of all parts."""
        return [info.filename for info in self._parts.values()]

    def __contains__(self, part: str) -> bool:
        return part.lower() in self._parts

    def read(self, part: str) -> bytes:
        """One part, unzipped."""
        return b"".join(self._chunks(part))

    def elements(self, part: str, *tags: str) -> Iterator[Element]:
        """The elements with these tags, which may not be nested, of a small document."""
        for number, element in enumerate(self.parse(part, _Elements(tags))):
            if number == MAX_ELEMENTS:
                raise self.refusal(f"at most {MAX_ELEMENTS:,} entries in {part!r}", "more")
            yield element

    def parse(self, part: str, handler: Handler[T]) -> Iterator[T]:
        """What the handler finds in a part, as it finds it: the document is never whole."""
        parser = DefusedExpatParser(forbid_dtd=True)
        parser.setContentHandler(handler)
        try:
            parser.feed(b"")  # else an empty document would pass as well-formed
            fed = 0
            for chunk in self._chunks(part):
                parser.feed(chunk)
                yield from handler.found
                handler.found.clear()
                fed += len(chunk)
                # A tag without end is kept in memory until it ends.
                if fed - parser._parser.CurrentByteIndex > MAX_TEXT:
                    raise SAXException(f"a tag of more than {MAX_TEXT:,} bytes")
            parser.close()
        except WorkbookError:
            raise
        except DefusedXmlException as error:
            raise self.refusal("plain XML", f"a document type or an entity in {part!r}") from error
        except (SAXException, ValueError, LookupError) as error:
            raise self.refusal("well-formed XML", f"{error} in {part!r}") from error

    def _chunks(self, part: str) -> Iterator[bytes]:
        if part not in self:
            raise self.refusal(f"the part {part!r}", "a workbook without it")
        left = MAX_PART  # the directory may lie about the size
        try:
            with self._zip.open(self._parts[part.lower()]) as stream:
                while chunk := stream.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise self.refusal(f"at most {MAX_PART:,} bytes in {part!r}", "more")
                    yield chunk
        except WorkbookError:
            raise
        except _ZIP_ERRORS as error:
            raise self.refusal("a sound zip file", f"{error} in {part!r}") from error
