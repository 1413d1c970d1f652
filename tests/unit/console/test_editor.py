from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MAX_CONSOLE_HISTORY_LINES, MAX_CONSOLE_LINE_BYTES
from relay.console.editor import WIDTH, Entered, Event, Interrupted, LineEditor, Wondering
from relay.console.keys import Key
from tests.fakes.screen import Screen

PROMPT = "relay> "


class Desk:
    """An editor, the screen it writes to, and what happened."""

    def __init__(self, *, secret: bool = False) -> None:
        self.editor, self.screen = LineEditor(), Screen()
        self.events: list[Event] = []
        self.written = b""
        self.show(self.editor.ask(PROMPT, secret=secret))

    def show(self, data: bytes) -> None:
        self.written += data
        self.screen.write(data)

    def press(self, *keys: str | Key) -> None:
        for key in keys:
            data, event = self.editor.press(key)
            self.show(data)
            self.events += [event] if event else []

    def type(self, text: str) -> None:
        self.press(*text)

    def enter(self, text: str) -> None:
        self.type(text)
        self.press(Key.ENTER)
        self.editor.remember(text)
        self.show(self.editor.ask(PROMPT))


KEYS = st.one_of(st.sampled_from(list("ab c.")), st.sampled_from([key for key in Key if key is not Key.ENTER]))


@given(st.lists(KEYS, max_size=200))
def test_the_screen_shows_the_line_and_the_cursor_whatever_is_pressed(keys: list[str | Key]) -> None:
    desk = Desk()
    for key in keys:
        desk.press(key)
        event = desk.events.pop() if desk.events else None
        if isinstance(event, Wondering):
            desk.show(b"\r\n" + desk.editor.redraw())
        elif event:
            desk.show(desk.editor.ask(PROMPT))
    text, cursor = desk.editor._text, desk.editor._cursor
    assert desk.screen.lines[-1][: len(PROMPT)] == PROMPT
    if len(PROMPT) + len(text) < WIDTH:
        assert desk.screen.lines[-1].rstrip() == (PROMPT + text).rstrip()
        assert desk.screen.column == len(PROMPT) + cursor
    assert all(len(line) < WIDTH for line in desk.screen.lines)


@given(st.lists(KEYS, max_size=60))
def test_nothing_that_is_typed_as_a_secret_reaches_the_screen(keys: list[str | Key]) -> None:
    desk = Desk(secret=True)
    desk.press(*keys)
    shown = desk.written.replace(PROMPT.encode(), b"").replace(b"^C", b"")
    assert not shown.strip(b"\r\n\a")


def test_a_line_longer_than_the_screen_scrolls_and_comes_out_whole() -> None:
    desk = Desk()
    text = "".join(str(number % 10) for number in range(300))
    desk.type(text)
    assert len(desk.screen.lines) == 1
    assert desk.screen.last.endswith("789")
    desk.press(Key.HOME)
    assert desk.screen.last.startswith(PROMPT + "0123")
    desk.press(Key.ENTER)
    assert desk.events == [Entered(text)]


def test_words_and_rests_are_erased() -> None:
    desk = Desk()
    desk.type("set name  box")
    desk.press(Key.ERASE_WORD)
    assert desk.editor._text == "set name  "
    desk.press(Key.ERASE_WORD)
    assert desk.editor._text == "set "
    desk.press(Key.HOME, Key.RIGHT, Key.ERASE_REST)
    assert desk.editor._text == "s"
    desk.press(Key.ERASE_LINE)
    assert desk.screen.last == PROMPT.rstrip()


def test_history_goes_up_and_down_and_gives_the_unfinished_line_back() -> None:
    desk = Desk()
    desk.enter("first")
    desk.enter("second")
    desk.type("unfinished")
    desk.press(Key.UP)
    assert desk.screen.last == PROMPT + "second"
    desk.press(Key.UP, Key.UP, Key.UP)
    assert desk.screen.last == PROMPT + "first"
    desk.press(Key.DOWN, Key.DOWN)
    assert desk.screen.last == PROMPT + "unfinished"


def test_history_is_bounded_skips_repeats_and_can_be_forgotten() -> None:
    desk = Desk()
    for number in range(MAX_CONSOLE_HISTORY_LINES + 10):
        desk.enter(str(number))
        desk.enter(str(number))
    assert len(desk.editor._history) == MAX_CONSOLE_HISTORY_LINES
    desk.editor.forget()
    desk.show(b"\r\n" + desk.editor.ask(PROMPT))
    desk.press(Key.UP)
    assert desk.screen.last == PROMPT.rstrip()


def test_a_secret_is_returned_and_cannot_be_recalled_over() -> None:
    desk = Desk()
    desk.enter("first")
    desk.show(desk.editor.ask("Password: ", secret=True))
    desk.type("xyzzy?plugh")
    desk.press(Key.UP, Key.TAB, Key.REDRAW, Key.ENTER)
    assert desk.events[-1] == Entered("xyzzy?plugh")
    assert b"xyzzy" not in desk.written


def test_a_line_has_a_limit() -> None:
    desk = Desk()
    desk.show(desk.editor.insert("x" * MAX_CONSOLE_LINE_BYTES))
    desk.type("y")
    assert desk.screen.bells == 1
    assert "y" not in desk.editor._text


def test_question_marks_ask_between_words_and_are_characters_inside_values() -> None:
    desk = Desk()
    desk.type("se?")
    desk.type("t http://box.example/?a")
    assert desk.events == [Wondering("se", explain=True)]
    assert desk.editor._text == "set http://box.example/?a"


def test_ctrl_d_deletes_in_a_line_and_leaves_from_an_empty_one() -> None:
    desk = Desk()
    desk.type("a")
    desk.press(Key.HOME, Key.END_OF_INPUT)
    assert desk.events == []
    desk.press(Key.END_OF_INPUT, Key.INTERRUPT)
    assert desk.events == [Interrupted(ended=True), Interrupted()]


def test_redraw_begins_a_clean_page() -> None:
    desk = Desk()
    desk.type("status")
    desk.press(Key.LEFT, Key.REDRAW)
    assert desk.screen.last == PROMPT + "status"
    assert desk.screen.column == len(PROMPT) + 5
