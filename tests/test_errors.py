from wcr_med.errors import UserError


def test_a_message_is_one_line_that_no_terminal_obeys() -> None:
    assert str(UserError("a.tif:\n  two\tlines; mend it")) == "a.tif: two lines; mend it"
    assert str(UserError("\x1b[2Jname\x00\ud800\u202e: bad")) == "\\x1b[2Jname\\x00\\ud800\\u202e: bad"
    assert str(UserError("größer als 3 µm")) == "größer als 3 µm"
