"""Ordinary speech of a household, from a small grammar: what is said in a room while nobody calls the satellite."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from models.confusables import sounds_like
from models.phonemes import common

WORD_SHARE = 0.25  # of the sentences, that hold a single word of a phrase
BLENDED_SHARE = 0.5  # of the words said by themselves, that are of no language

# A name in capitals is replaced by one of its row.
GRAMMAR = {
    "SENTENCE": (
        *("COMMAND", "COMMAND", "PLEASE COMMAND", "QUESTION", "QUESTION", "STATEMENT", "STATEMENT", "STATEMENT"),
        *("REPLY, STATEMENT", "STATEMENT, and then STATEMENT", "CALL, QUESTION", "CALL, COMMAND", "REPLY"),
    ),
    "COMMAND": (
        *("turn SWITCH the DEVICE in the ROOM", "turn the DEVICE SWITCH", "switch SWITCH the DEVICE"),
        *("set a timer for NUMBER minutes", "set the DEVICE to NUMBER percent", "wake me at NUMBER thirty"),
        *("play some MUSIC in the ROOM", "play the next song", "stop the MUSIC", "make it a bit QUALITY"),
        *("put THING on the shopping list", "remind me to ACTION on DAY", "call my RELATIVE", "open the OPENING"),
        *("close the OPENING", "what is NUMBER times NUMBER", "tell me the news", "lock the front door"),
        *("bring me the THING from the ROOM", "find my THING", "read me the recipe for FOOD", "start the DEVICE"),
    ),
    "QUESTION": (
        *("what time is it in PLACE", "how is the weather on DAY", "will it WEATHER TIME", "where is the THING"),
        *("did you ACTION TIME", "have you seen my RELATIVE", "who left the OPENING open", "what do you want to eat"),
        *("can you ACTION before DAY", "why is the DEVICE so QUALITY", "when does the VEHICLE leave for PLACE"),
        *("is there any FOOD left in the ROOM", "how many NOUN are there in the ROOM", "do you like this MUSIC"),
        *("would you like some FOOD", "should I ACTION now", "whose THING is this", "how far is it to PLACE"),
    ),
    "STATEMENT": (
        *("my RELATIVE went to PLACE TIME", "I forgot to ACTION", "the DEVICE in the ROOM is broken again"),
        *("we are having FOOD for dinner", "the VEHICLE was late on DAY", "it will WEATHER TIME, I think"),
        *("the children are playing in the ROOM", "there are NUMBER NOUN on the table", "I would rather ACTION"),
        *("she told me that the THING was QUALITY", "he never wants to ACTION", "the NOUN look rather QUALITY today"),
        *("I have to ACTION before we go to PLACE", "somebody should ACTION", "the FOOD tastes really QUALITY"),
        *(
            "they sold the house near PLACE for a lot of money",
            "it costs about NUMBER hundred",
            "we watched a film TIME",
        ),
        *("the neighbours bought a QUALITY VEHICLE", "I put the THING next to the DEVICE", "nobody has fed the PET"),
        *("the PET is sleeping on the THING", "the doctor said that I should ACTION", "that was a very QUALITY idea"),
    ),
    "REPLY": (
        *("yes", "no, thank you", "of course", "I do not know", "maybe later", "that sounds good", "not really"),
        *("well, let me see", "wait a minute", "all right", "never mind", "you are right", "I am not sure about that"),
    ),
    "CALL": ("honey", "excuse me", "hello", "hey", "listen", "okay", "Anna", "Peter", "Maria", "David", "mum", "dad"),
    "PLEASE": ("please", "could you", "can you", "would you", "I want you to", "go and"),
    "SWITCH": ("on", "off", "up", "down"),
    "DEVICE": (
        *("light", "lamp", "heating", "radio", "television", "oven", "dishwasher", "fan", "kettle", "washing machine"),
        *("coffee machine", "speaker", "vacuum cleaner", "alarm", "ceiling light", "printer", "toaster", "fridge"),
    ),
    "ROOM": (
        *("kitchen", "living room", "bedroom", "bathroom", "hall", "garage", "garden", "cellar", "office", "attic"),
        *("dining room", "nursery", "guest room", "basement", "workshop", "corridor"),
    ),
    "OPENING": ("door", "window", "curtains", "blinds", "garage door", "gate", "shutters", "drawer", "cupboard"),
    "NUMBER": (
        *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen"),
        *("twenty", "thirty five", "forty", "fifty", "sixty four", "seventy", "eighty two", "ninety"),
    ),
    "MUSIC": ("music", "jazz", "classical music", "rock", "piano music", "song", "radio play", "folk music", "podcast"),
    "QUALITY": (
        *("louder", "warm", "cold", "quiet", "expensive", "old", "strange", "lovely", "clever", "heavy", "delicious"),
        *("bright", "dirty", "small", "useful", "boring", "wonderful", "dangerous", "beautiful", "slow", "cheap"),
    ),
    "THING": (
        *("umbrella", "keys", "blanket", "newspaper", "telephone", "bicycle", "wallet", "jacket", "scissors", "camera"),
        *("glasses", "book", "sofa", "charger", "suitcase", "shoes", "guitar", "towel", "calendar", "screwdriver"),
    ),
    "NOUN": (
        *("plates", "chairs", "letters", "flowers", "apples", "bottles", "candles", "pictures", "cups", "boxes"),
        *("cushions", "pencils", "oranges", "tickets", "cards", "shelves", "photographs", "spoons"),
    ),
    "ACTION": (
        *("wash the dishes", "water the plants", "pay the bill", "walk the PET", "take out the rubbish", "go to bed"),
        *("call the plumber", "clean the windows", "buy some FOOD", "finish the homework", "visit my RELATIVE"),
        *("fix the DEVICE", "charge the phone", "write a letter", "pick up the children", "book the tickets"),
        *("cook something simple", "learn to swim", "sell the VEHICLE", "paint the ROOM", "look for the THING"),
    ),
    "FOOD": (
        *("pasta", "bread", "chicken soup", "rice and beans", "chocolate cake", "potatoes", "cheese", "salad", "fish"),
        *("strawberries", "pancakes", "tomato sauce", "butter", "vegetables", "ice cream", "yoghurt", "honey", "milk"),
    ),
    "RELATIVE": (
        *("mother", "father", "sister", "brother", "uncle", "aunt", "cousin", "grandmother", "nephew", "husband"),
        *("wife", "daughter", "son", "teacher", "boss", "dentist", "neighbour"),
    ),
    "PLACE": (
        *("London", "Berlin", "the station", "the beach", "the library", "school", "work", "Chicago", "the mountains"),
        *("Sydney", "the museum", "Paris", "the supermarket", "Boston", "the hospital", "Edinburgh", "the airport"),
    ),
    "VEHICLE": ("car", "bus", "train", "ferry", "tram", "van", "motorbike", "plane", "taxi", "boat", "tractor"),
    "PET": ("dog", "cat", "rabbit", "parrot", "goldfish", "hamster"),
    "WEATHER": ("rain", "snow", "be sunny", "be windy", "freeze", "get warmer", "be foggy", "clear up"),
    "TIME": (
        *("tomorrow", "tonight", "this morning", "next week", "on DAY", "in the afternoon", "before lunch"),
        *("after work", "at midnight", "last winter", "all day long", "in NUMBER days"),
    ),
    "DAY": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "my birthday"),
    # Around a single word of a phrase.
    "MENTION": (
        *(
            "they wrote WORD on the box",
            "I said WORD, not more",
            "is it spelt WORD or not",
            "WORD is what she called it",
        ),
        *(
            "the WORD was on the table",
            "do you mean WORD",
            "we talked about WORD all evening",
            "a WORD, a word, a week",
        ),
        *(
            "my RELATIVE says WORD all the time",
            "there is a WORD in the ROOM",
            "WORD and THING",
            "another WORD, please",
        ),
        *("she said WORD, and then STATEMENT", "WORD, WORD, QUESTION", "after the WORD, somebody should ACTION"),
    ),
}
SYMBOL = re.compile(r"[A-Z]{3,}")


def sentences(count: int, phrases: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Different sentences in none of which a phrase is said, though some hold one word of a phrase of several."""
    words = sorted({word for phrase in phrases for word in phrase.lower().split() if " " in phrase})
    found: dict[str, None] = {}
    for sentence in _endless(words, rng):
        if len(found) == count:
            break
        if not any(_said(phrase, sentence) for phrase in phrases):
            found[sentence] = None
    return list(found)


def alone(count: int, phrases: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Different words that are said by themselves, half of them of no language, none like a phrase.

    A network that hears other speech in sentences only takes any word with silence around it for its own.
    """
    known = sorted(common())
    found: dict[str, None] = {}
    while len(found) < count:
        first, second = (known[int(rng.integers(len(known)))] for _ in range(2))
        text = _blend(first, second) if rng.random() < BLENDED_SHARE else first
        if not any(sounds_like(phrase, text) for phrase in phrases):
            found[text] = None
    return list(found)


def _blend(first: str, second: str) -> str:
    """The beginning of one word with the end of another."""
    return first[: (len(first) + 1) // 2] + second[len(second) // 2 :]


def command(rng: np.random.Generator) -> str:
    """What one asks of a satellite."""
    return _grow("COMMAND", "", rng)


def _endless(words: list[str], rng: np.random.Generator) -> Iterator[str]:
    while True:
        word = str(rng.choice(words)) if words and rng.random() < WORD_SHARE else ""
        yield _grow("MENTION" if word else "SENTENCE", word, rng)


def _grow(symbol: str, word: str, rng: np.random.Generator) -> str:
    if symbol == "WORD":
        return word
    row = GRAMMAR[symbol]
    return SYMBOL.sub(lambda name: _grow(name[0], word, rng), row[int(rng.integers(len(row)))])


def _said(phrase: str, sentence: str) -> bool:
    plain = " ".join(re.findall(r"[\w']+", sentence.lower()))
    return f" {phrase.lower()} " in f" {plain} "
