"""Pictures in the terminal, by the two protocols that most terminals with pictures speak."""

import base64
from collections.abc import Mapping

from mrmd_python.runtime.display_files import FileContent

# The longest payload of one sequence: https://sw.kovidgoyal.net/kitty/graphics-protocol/#remote-client
_KITTY_CHUNK = 4096
# TERM_PROGRAM of the terminals that show files that are sent inline, as iTerm2 does:
# https://iterm2.com/documentation-images.html, https://wezterm.org/imgcat.html, https://mintty.github.io/mintty.1.html,
# https://code.visualstudio.com/docs/terminal/advanced#_image-support
_LIKE_ITERM = ("iTerm.app", "WezTerm", "mintty", "vscode")
_ITERM_TYPES = ("image/png", "image/jpeg", "image/gif")


def inline_picture(picture: FileContent, environ: Mapping[str, str]) -> bytes | None:
    """Return what shows a picture in the terminal of an environment; None if that cannot show it."""
    if "TMUX" in environ or environ.get("TERM", "").startswith(("screen", "tmux")):
        return None  # what is inherited from the terminal around it does not hold
    program = environ.get("TERM_PROGRAM")
    if "KITTY_WINDOW_ID" in environ or environ.get("TERM") == "xterm-kitty" or program == "ghostty":
        return _kitty(picture.data) if picture.mime_type == "image/png" else None  # the one format that it decodes
    if program in _LIKE_ITERM and picture.mime_type in _ITERM_TYPES:
        return b"\x1b]1337;File=inline=1;size=%d:%s\a\n" % (len(picture.data), base64.b64encode(picture.data))
    return None


def _kitty(content: bytes) -> bytes:
    encoded = base64.b64encode(content)
    # Transmit and show a PNG, without an answer from the terminal.
    keys, shown = b"a=T,f=100,q=2,", bytearray()
    for start in range(0, len(encoded), _KITTY_CHUNK):
        more = start + _KITTY_CHUNK < len(encoded)
        shown += b"\x1b_G%sm=%d;%s\x1b\\" % (keys, more, encoded[start : start + _KITTY_CHUNK])
        keys = b""
    return bytes(shown) + b"\n"
