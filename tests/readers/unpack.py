"""Unpacks archives with Python's tarfile. Reads pairs of archive and folder from standard input, each with a zero after it."""

import sys
import tarfile

words = sys.stdin.buffer.read().decode().split("\0")[:-1]
for archive, folder in zip(words[::2], words[1::2]):
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(folder)
