"""An answer read token by token: what comes next by rule, and in which contexts the next token was seen before.

In the contexts of prose a whole list of indexes is one symbol, so that `[<list>]. She` is the same phrase whatever
the numbers are. Within a list the contexts are its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

from .indexes import Vocabulary, next_index

Context = tuple[int, ...]

ORDER = 6  # symbols of a context: 8 saved 0.1 % more passes on the released models' answers, 4 saved 1 % fewer
_LONGEST_SEPARATOR = 4  # tokens; with more between two indexes it is no list
_PARTS = 10  # of the video, in telling how far a list has come

# Symbols that stand among token ids. The last seven begin contexts of their own.
_START, _LIST, _NO_INDEX = -1, -2, -3
_FIRST_INDEX, _LAST_INDEX, _COUNT, _DIGITS, _DIGITS_BEHIND, _BETWEEN, _STOP = range(-4, -11, -1)


class Reader:
    """Where an answer stands.

    Args:
        vocabulary: the tokenizer's.
        lists: whether lists are told from prose; False reads digits as any other tokens.
    """

    __slots__ = ("_alone", "_before", "_between", "_digits", "_indexes", "_inside", "_lists", "_separator", "_symbols",
                 "vocabulary")  # fmt: skip

    def __init__(self, vocabulary: Vocabulary, lists: bool = True) -> None:
        self.vocabulary = vocabulary
        self._lists = lists
        self._symbols: list[int] = [_START]
        self._inside = False  # a list
        self._indexes: list[int] = []  # of this list
        self._digits: list[int] = []  # ids of the index that is being written or was written last
        self._between: list[int] = []  # ids since that index
        self._separator = vocabulary.separator  # as this answer writes it
        self._before = _NO_INDEX  # the last index of the list before
        self._alone = False  # whether that was its only one

    def copy(self) -> Reader:
        """A reader that goes on from here on its own."""
        other = object.__new__(Reader)
        other.vocabulary, other._lists = self.vocabulary, self._lists
        other._symbols = self._symbols[-ORDER:]
        other._inside, other._indexes = self._inside, self._indexes[:]
        other._digits, other._between = self._digits[:], self._between[:]
        other._separator, other._before, other._alone = self._separator, self._before, self._alone
        return other

    def read(self, token: int) -> None:
        """Go on by one token."""
        if self._inside:
            if self._read_in_list(token):
                return
            self._leave()
        self._symbols.append(token)
        if self._lists and token in self.vocabulary.opens:
            self._inside = True
            self._indexes, self._digits, self._between = [], [], []

    def _read_in_list(self, token: int) -> bool:
        """Whether the token belongs to the list."""
        if token not in self.vocabulary.digits:
            if not self._complete or token in self.vocabulary.closes or len(self._between) == _LONGEST_SEPARATOR:
                return False
            self._between.append(token)
            return True
        if self._between:
            self._separator = tuple(self._between)
            self._digits, self._between = [], []
        self._digits.append(token)
        if len(self._digits) < self.vocabulary.width:
            return True
        index = self.vocabulary.index_of.get(tuple(self._digits))
        if index is not None:
            self._indexes.append(index)
        return index is not None

    def _leave(self) -> None:
        self._inside = False
        if self._indexes:
            self._before, self._alone = self._indexes[-1], len(self._indexes) == 1
        self._symbols.append(_LIST)

    @property
    def _complete(self) -> bool:
        return len(self._digits) == self.vocabulary.width

    @property
    def after_index(self) -> bool:
        """Whether an index has just been written, so that its list ends or goes on."""
        return self._inside and self._complete and bool(self._indexes) and not self._between

    def rule(self) -> tuple[int, ...]:
        """The ids up to the end of a list's next index, if the list goes on.

        None where that index is not known, and behind a first index when the list before had but one: such an answer
        cites single frames.
        """
        if not self._inside:
            return ()
        indexes, between, separator = self._indexes, tuple(self._between), self._separator
        following = next_index(indexes, len(self.vocabulary.cited))
        if following is None or (self.after_index and self._alone and len(indexes) == 1):
            return ()
        cited = self.vocabulary.cited[following]
        if not between and not self._complete:  # within the index
            written = len(self._digits)
            return cited[written:] if tuple(self._digits) == cited[:written] else ()
        return separator[len(between) :] + cited if between == separator[: len(between)] else ()

    def go_on(self) -> None:
        """Go on by all of `rule`.

        Raises:
            RuntimeError: if there is none, because no next index is known.
        """
        following = next_index(self._indexes, len(self.vocabulary.cited))
        if following is None:
            raise RuntimeError("no list goes on here")
        self._indexes.append(following)
        self._digits, self._between = list(self.vocabulary.cited[following]), []

    def contexts(self) -> Iterator[Context]:
        """The contexts of the next token, from the one that says most to the one that says least."""
        if self._inside:
            yield from self._list_contexts()
            return
        symbols = self._symbols
        longest = min(ORDER, len(symbols))
        yield tuple(symbols[-longest:])
        if len(symbols) > 1 and symbols[-2] == _LIST:  # whether the answer ends depends on how far the video is
            yield (_STOP, symbols[-1], self._before * _PARTS // len(self.vocabulary.cited))
        for order in range(longest - 1, 0, -1):
            yield tuple(symbols[-order:])
        yield ()

    def _list_contexts(self) -> tuple[Context, ...]:
        indexes, between = self._indexes, tuple(self._between)
        if self.after_index:
            count = len(indexes)
            return (_FIRST_INDEX, indexes[0], count), (_LAST_INDEX, indexes[-1]), (_COUNT, count)
        if between and between != self._separator:
            return ((_BETWEEN, *between),)
        before = indexes[-1] if indexes else self._before
        digits = () if between else self._digits
        return (_DIGITS_BEHIND, before, *digits), (_DIGITS, *digits)
