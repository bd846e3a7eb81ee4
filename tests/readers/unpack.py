"""Unpacks archives with Python's tarfile.

Reads pairs of archive and directory from standard input, each with a zero after it. Writes a line for each: 0, or 1 if it
was refused.
"""

import sys
import tarfile

words = sys.stdin.buffer.read().decode().split("\0")[:-1]
for archive, directory in zip(words[::2], words[1::2]):
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(directory)
        print(0)
    except Exception as refusal:
        print(f"{archive}: {refusal!r}", file=sys.stderr)
        print(1)
