"""The text of a file in blocks of whole lines, for any encoding and line ending."""

import codecs
import io
import re
from collections import deque
from typing import IO

import numpy as np

_BLOCK = 2**18  # bytes that are read at a time
_FIRST_COMMA = re.compile(r"^([^,\n]*),", re.MULTILINE)


class Text:
    r"""Lines, taken one by one or in blocks; each ends with ``\n``, except perhaps the last.

    Parameters
    ----------
    encoding
        The encoding of the file; blocks are UTF-8.
    is_pair
        Whether the first comma of a line separates two columns: it becomes a semicolon.
    """

    def __init__(self, file: IO[bytes], encoding: str, is_pair: bool = False) -> None:
        self._file, self._is_pair = file, is_pair
        # a single \r ends a line too: pandas would drop the separator of an empty field after one
        self._decoder = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder(encoding)(), translate=True
        )
        self._blocks: list[bytes] = []  # blocks that were put back; the next one is last
        self._lines: deque[str] = deque()  # the rest of a block that is read line by line
        self._rest = ""  # the beginning of a line that is incomplete so far
        self._has_started = self._is_exhausted = False
        self.bytes = 0  # read from the file so far

    def take(self, lines: int) -> bytes:
        """Take some lines, or fewer at the end of the file.

        Raises
        ------
        UnicodeError
            If the bytes are not valid in the encoding.
        """
        parts = []
        while lines > 0 and (block := self._next()):
            if (count := count_lines(block)) > lines:
                end = int(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))[lines - 1])
                self._blocks.append(block[end + 1 :])
                block = block[: end + 1]
            parts.append(block)
            lines -= count
        return b"".join(parts)

    def line(self) -> str:
        """Take a line, empty at the end of the file; raises like ``take``."""
        if not self._lines:
            self._lines.extend(io.StringIO(self._next().decode(), newline="\n"))
        return self._lines.popleft() if self._lines else ""

    def put_back(self, block: bytes) -> None:
        """Put lines back in front of the remaining ones."""
        self._blocks += [self._take_rest(), block]

    def _take_rest(self) -> bytes:
        text = "".join(self._lines)
        self._lines.clear()
        return text.encode()

    def _next(self) -> bytes:
        """Take the next block of lines, empty at the end of the file."""
        if self._lines:
            return self._take_rest()
        while self._blocks:
            if block := self._blocks.pop():
                return block
        while not self._is_exhausted:
            data = self._file.read(_BLOCK)
            self._is_exhausted = not data
            self.bytes += len(data)
            text = self._rest + self._decoder.decode(data, final=self._is_exhausted)
            if text and not self._has_started:
                text = text.removeprefix("\ufeff")
                self._has_started = True
            end = len(text) if self._is_exhausted else text.rfind("\n") + 1
            text, self._rest = text[:end], text[end:]
            if text:
                return (_FIRST_COMMA.sub(r"\1;", text) if self._is_pair else text).encode()
        return b""


def count_lines(block: bytes) -> int:
    """Count lines; the last one may lack a line ending."""
    return block.count(b"\n") + (not block.endswith(b"\n"))
