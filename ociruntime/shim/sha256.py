# SPDX-License-Identifier: Apache-2.0
"""What is the SHA-256 of a few bytes? For a CPython without the module: in Debian's static library of 3.13 and newer.

FIPS 180-4; about a millisecond. Must not import anything of the package.
"""

from __future__ import annotations

_WORD = 0xFFFFFFFF
_PRIMES = [number for number in range(2, 312) if all(number % divisor for divisor in range(2, number))]


def _fraction(prime: int, root: int) -> int:
    """The first 32 bits of the fraction of a prime's square or cube root."""
    scaled = prime << 32 * root
    low, high = 0, prime << 32
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**root <= scaled else (low, middle - 1)
    return low & _WORD


_BEGIN = [_fraction(prime, 2) for prime in _PRIMES[:8]]
_ROUNDS = [_fraction(prime, 3) for prime in _PRIMES]


def hexdigest(data: bytes) -> str:
    """64 digits."""
    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + (8 * len(data)).to_bytes(8, "big")
    state = _BEGIN
    for at in range(0, len(padded), 64):
        state = _mixed(state, padded[at : at + 64])
    return "".join(f"{word:08x}" for word in state)


def _mixed(state: list[int], block: bytes) -> list[int]:
    words = [int.from_bytes(block[at : at + 4], "big") for at in range(0, 64, 4)]
    for at in range(16, 64):
        early, late = words[at - 15], words[at - 2]
        first = _turned(early, 7) ^ _turned(early, 18) ^ early >> 3
        second = _turned(late, 17) ^ _turned(late, 19) ^ late >> 10
        words.append(words[at - 16] + first + words[at - 7] + second & _WORD)
    a, b, c, d, e, f, g, h = state
    for word, constant in zip(words, _ROUNDS, strict=True):
        one = h + (_turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)) + (e & f ^ ~e & g) + constant + word
        two = (_turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = one + two & _WORD, a, b, c, d + one & _WORD, e, f, g
    return [old + new & _WORD for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def _turned(word: int, bits: int) -> int:
    return (word >> bits | word << 32 - bits) & _WORD
