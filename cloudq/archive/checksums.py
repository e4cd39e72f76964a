"""CRC-32 sums of pieces, put together to that of the whole.

Bytes are a polynomial over GF(2), their sum its remainder; to append bytes multiplies what stands before
them by a power of x. The polynomial is that of ZIP, its bits in reverse order.

`crc32` is that of `zlib`: by isal, where it is installed, which is several times as fast.
"""

from __future__ import annotations

from functools import lru_cache

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["crc32", "join_sums"]

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
_X8 = _ONE >> 8


def join_sums(first: int, second: int, length: int) -> int:
    """Return the CRC-32 of two pieces, one behind the other, of the CRC-32 of each.

    Args:
        first: Of the first piece.
        second: Of the second one.
        length: Bytes of the second one.
    """
    return _product(_shift(length), first) ^ second


@lru_cache(maxsize=64)
def _shift(length: int) -> int:
    """Return x to the power of so many bytes."""
    power, square = _ONE, _X8
    while length:
        if length & 1:
            power = _product(power, square)
        square = _product(square, square)
        length >>= 1
    return power


def _product(left: int, right: int) -> int:
    product = 0
    for bit in range(31, -1, -1):
        if left >> bit & 1:
            product ^= right
        right = right >> 1 ^ (_POLYNOMIAL if right & 1 else 0)
    return product
