"""Displays: the session's display hook and display publisher for IPython."""

import base64
from typing import Any, Callable, Optional

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher

from . import streams
from .limits import limit_text

MimeBundle = dict[str, Any]

TEXT = "text/plain"
# The values of these types have no other form than text, unless a cell has registered a formatter for one.
_TEXT_ONLY_TYPES = (int, float, complex, bool, str, bytes)
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")


class SessionDisplayHook(DisplayHook):  # type: ignore[misc]
    """Prints the value of an expression as IPython does, and keeps its MIME bundle.

    The last value is the cell's result. If anything runs or is displayed after it, it is sent as a display. For rich
    clients nothing is printed, and what is displayed once the code has ended, such as open figures, changes nothing.
    """

    publisher: "SessionDisplayPublisher"
    # The last value as text/plain.
    text: Optional[str] = None
    # Its MIME bundle and metadata, until they are sent.
    unsent: "Optional[tuple[MimeBundle, dict[str, Any]]]" = None
    # Whether a value's formatter (its __repr__, say) is running. IPython prints the error it raises and goes on.
    is_formatting = False

    def write_output_prompt(self) -> None:
        """Leave the prompt to `write_format_data`, so that it reaches the server together with the value."""

    def compute_format_data(self, result: Any) -> "tuple[MimeBundle, dict[str, Any]]":
        """Return the MIME bundle of an object, and its metadata.

        For numbers and strings only text/plain is computed, unless a cell has registered another formatter for their
        type: trying all formatters takes longer than most cells that return one.
        """
        formatter = self.shell.display_formatter
        others = (formatter.formatters[mime] for mime in formatter.formatters if mime != TEXT)
        kind = type(result)
        is_text_only = kind in _TEXT_ONLY_TYPES and not any(kind in other.type_printers for other in others)
        self.is_formatting = True
        try:
            bundle: "tuple[MimeBundle, dict[str, Any]]" = formatter.format(
                result, include={TEXT} if is_text_only else None
            )
        finally:
            self.is_formatting = False
        return bundle

    def write_format_data(self, format_dict: MimeBundle, md_dict: Optional[dict[str, Any]] = None) -> None:
        """Print the text and keep the MIME bundle."""
        self.send()
        self.text = format_dict.get(TEXT)
        if self.shell.rich:
            self.unsent = format_dict, md_dict or {}
            return
        # Text alone is complete once it is printed, and long text need not be sent again.
        limited = {mime: limit_text(form) if mime == TEXT else form for mime, form in format_dict.items()}
        self.unsent = (limited, md_dict or {}) if len(format_dict) > 1 else None
        if self.text is not None:
            prompt = f"Out[{self.prompt_count}]: " if self.do_full_cache else ""
            start = "\n" if "\n" in self.text else ""  # so that all lines begin in the same column
            self.shell.write_output(f"{prompt}{start}{self.text}\n{self.shell.separate_out2}")

    def finish_displayhook(self) -> None:
        """Do nothing with sys.stdout, which a cell may have replaced."""
        self._is_active = False

    def send(self) -> None:
        """Send the last value as a display: it is not the cell's result."""
        display = self.take()
        if display is not None:
            self.publisher.send({"op": "display", **display})

    def take(self) -> "Optional[dict[str, Any]]":
        """Return the last value's MIME bundle as JSON, once; None if there is none to send."""
        if self.unsent is None:
            return None
        (bundle, metadata), self.unsent = self.unsent, None
        return {"data": as_json(bundle), "metadata": metadata}


class SessionDisplayPublisher(DisplayPublisher):  # type: ignore[misc]
    """Sends displays to the server, in order with the output."""

    send: Callable[[dict[str, Any]], None]
    # Whether what is displayed now is for clients that render it themselves: those of a rich cell and, between cells,
    # those that watch the session.
    rich = True

    def publish(
        self,
        data: MimeBundle,
        metadata: Optional[dict[str, Any]] = None,
        source: Any = None,
        *,
        transient: Optional[dict[str, Any]] = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        """Send a display. Print it as well, for clients that show only text, unless it is an image."""
        if self.shell.runs_code or not self.rich:
            self.shell.displayhook.send()
        if TEXT in data and not self.rich and not any(image in data for image in _IMAGES):
            streams.session_stream("stdout").write(f"{data[TEXT]}\n")
        display_id = (transient or {}).get("display_id")
        identity = {} if display_id is None else {"displayId": str(display_id), "update": bool(update)}
        late = {} if self.shell.displayhook.unsent is None else {"late": True}
        self.send({"op": "display", "data": as_json(data), "metadata": dict(metadata or {}), **identity, **late})

    def clear_output(self, wait: bool = False) -> None:
        """Send a `clear_output` event; for clients without it, print the escape sequence that clears a line."""
        if self.rich:
            self.send({"op": "clear_output", "wait": bool(wait)})
        else:
            super().clear_output(wait)


def as_json(bundle: MimeBundle) -> MimeBundle:
    """Return a MIME bundle with bytes encoded in base64."""
    return {mime: base64.b64encode(form).decode() if isinstance(form, bytes) else form for mime, form in bundle.items()}
