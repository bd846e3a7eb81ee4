#!/usr/bin/env python3
"""Makes a large bundle of a small one: large.py SMALL LARGE. Its one artifact has another content,
100 MB that cannot be compressed; everything else is as it was."""

import io
import random
import sys
import tarfile
import zlib

SIZE = 100_000_000
HEADER = bytes.fromhex("1f8b080000000000 00ff")


def main():
    small, large = sys.argv[1:]
    content = random.Random(1).randbytes(SIZE)
    tar = io.BytesIO()
    with tarfile.open(small) as found:
        for member in found:
            data = found.extractfile(member).read()
            if "/artifacts/" in member.name:
                data = content
            # The appliance's form of a header, which tarfile does not write.
            header = bytearray(512)
            name = member.name.encode()
            header[: len(name)] = name
            fields = [(100, f"{member.mode:07o}"), (108, "0000000"), (116, "0000000")]
            fields += [(124, f"{len(data):011o}"), (136, f"{int(member.mtime):011o}")]
            for start, text in fields:
                header[start : start + len(text)] = text.encode()
            header[148:156] = b" " * 8
            header[156:157] = b"0"
            header[257:265] = b"ustar\x0000"
            header[148:156] = f"{sum(header):07o}\0".encode()
            tar.write(header + data + bytes(-len(data) % 512))
    tar.write(bytes(1024))
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    body = tar.getbuffer()
    trailer = zlib.crc32(body).to_bytes(4, "little") + (len(body) & 0xFFFFFFFF).to_bytes(4, "little")
    with open(large, "wb") as file:
        file.write(HEADER + packer.compress(body) + packer.flush() + trailer)


if __name__ == "__main__":
    main()
