"""The names that synthesisers have for phonemes, and those of the CMU dictionary (ARPAbet, without stress) for them."""

from __future__ import annotations

Phones = tuple[str, ...]

# espeak-ng's mnemonics, longest first; what is not here is silent.
ESPEAK = {
    "aI@": ("AY", "ER"),
    "aI3": ("AY", "ER"),
    "aU@": ("AW", "ER"),
    "i@3": ("IH", "R"),
    "A@": ("AA", "R"),
    "e@": ("EH", "R"),
    "o@": ("AO", "R"),
    "O@": ("AO", "R"),
    "U@": ("UH", "R"),
    "i@": ("IY", "AH"),
    "aI": ("AY",),
    "aU": ("AW",),
    "eI": ("EY",),
    "oU": ("OW",),
    "OI": ("OY",),
    "i:": ("IY",),
    "u:": ("UW",),
    "A:": ("AA",),
    "O:": ("AO",),
    "3:": ("ER",),
    "@L": ("AH", "L"),
    "@5": ("AH",),
    "a#": ("AH",),
    "I#": ("IH",),
    "I2": ("IH",),
    "tS": ("CH",),
    "dZ": ("JH",),
    "t#": ("T",),
    "aa": ("AE",),
    "0#": ("AA",),
    "n-": ("AH", "N"),
    "3": ("ER",),
    "@": ("AH",),
    "a": ("AE",),
    "A": ("AA",),
    "E": ("EH",),
    "i": ("IY",),
    "I": ("IH",),
    "0": ("AA",),
    "O": ("AO",),
    "V": ("AH",),
    "U": ("UH",),
    "u": ("UW",),
    "o": ("OW",),
    "e": ("EH",),
    **{letter: (letter.upper(),) for letter in "bdfghklmnprstvwz"},
    "h": ("HH",),
    "j": ("Y",),
    "N": ("NG",),
    "S": ("SH",),
    "Z": ("ZH",),
    "T": ("TH",),
    "D": ("DH",),
    "x": ("K",),
}

# Those of flite's and festival's that are not ARPAbet in small letters.
RADIO = {
    "ax": ("AH",),
    "axr": ("ER",),
    "dx": ("T",),
    "el": ("AH", "L"),
    "em": ("AH", "M"),
    "en": ("AH", "N"),
    "hv": ("HH",),
    "ix": ("IH",),
    "nx": ("N",),
}

# Letters of the international alphabet that are one phoneme by themselves; vowels are often two letters.
IPA = {
    **{letter: (letter.upper(),) for letter in "bdfklmnprstvwz"},
    "h": ("HH",),
    "j": ("Y",),
    "\u0261": ("G",),
    "\u014b": ("NG",),
    "\u03b8": ("TH",),
    "\u00f0": ("DH",),
    "\u0283": ("SH",),
    "\u0292": ("ZH",),
    "\u0279": ("R",),
    "\u027e": ("T",),
    "\u02d0": (),
    "\u02c8": (),
    "\u02cc": (),
}


def arpabet(engine: str, name: str) -> Phones:
    """What an engine means by a name: a phoneme, or two, or none; a name that is not known is left as it is."""
    if engine == "espeak-ng":
        return from_mnemonics(name)
    if engine == "piper":
        return IPA.get(name, (name,))
    return RADIO.get(name, (name.upper(),))


def from_mnemonics(said: str) -> Phones:
    """What espeak-ng writes without gaps."""
    phones: list[str] = []
    at = 0
    while at < len(said):
        size = next((size for size in (3, 2, 1) if said[at : at + size] in ESPEAK), 0)
        phones += ESPEAK.get(said[at : at + size], ())
        at += size or 1
    return tuple(phones)
