"""Displays: IPython's display hook and display publisher, as a session has them."""

import base64
from typing import Any, Callable, Optional

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher

from . import streams

MimeBundle = dict[str, Any]

TEXT = "text/plain"
# The values of these types have no other form than text, unless a cell has registered a formatter for one.
_TEXT_ONLY_TYPES = (int, float, complex, bool, str, bytes)
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")


class SessionDisplayHook(DisplayHook):  # type: ignore[misc]
    """Prints the value of an expression as IPython does, and keeps its forms.

    The last value is the cell's result. If something runs after it, its forms are a display of their own.
    """

    publisher: "SessionDisplayPublisher"
    # The text of the last value.
    text: Optional[str] = None
    # Its forms and their metadata, until they are sent.
    unsent: "Optional[tuple[MimeBundle, dict[str, Any]]]" = None
    # Whether a __repr__ or the like of a value may be running. IPython shows what it raises, and goes on.
    is_formatting = False

    def write_output_prompt(self) -> None:
        """Leave it to `write_format_data`: what is written at once reaches the server at once."""

    def compute_format_data(self, result: Any) -> "tuple[MimeBundle, dict[str, Any]]":
        """Return an object in all forms there are of it.

        Of what has no other form than text, unless a cell has given it one, the others are not asked for: that takes
        longer than to run most such cells.
        """
        formatter = self.shell.display_formatter
        others = (formatter.formatters[mime] for mime in formatter.formatters if mime != TEXT)
        is_text_alone = type(result) in _TEXT_ONLY_TYPES and not any(
            type(result) in other.type_printers for other in others
        )
        self.is_formatting = True
        try:
            forms: "tuple[MimeBundle, dict[str, Any]]" = formatter.format(
                result, include={TEXT} if is_text_alone else None
            )
        finally:
            self.is_formatting = False
        return forms

    def write_format_data(self, format_dict: MimeBundle, md_dict: Optional[dict[str, Any]] = None) -> None:
        """Print the text and keep the forms."""
        self.send()
        self.text = format_dict.get(TEXT)
        # As text alone it has been shown once it is printed.
        self.unsent = (format_dict, md_dict or {}) if len(format_dict) > 1 else None
        if self.text is not None:
            prompt = f"Out[{self.prompt_count}]: " if self.do_full_cache else ""
            start = "\n" if "\n" in self.text else ""  # so that its columns line up
            self.shell.write_output(f"{prompt}{start}{self.text}\n{self.shell.separate_out2}")

    def finish_displayhook(self) -> None:
        """Leave sys.stdout alone, which a cell may have replaced."""
        self._is_active = False

    def send(self) -> None:
        """Send the forms of the last value as a display: it is not the result."""
        display = self.take()
        if display is not None:
            self.publisher.send({"op": "display", **display})

    def take(self) -> "Optional[dict[str, Any]]":
        """Return the forms of the last value as they are sent, once; None if there are none."""
        if self.unsent is None:
            return None
        (forms, metadata), self.unsent = self.unsent, None
        return {"data": as_json(forms), "metadata": metadata}


class SessionDisplayPublisher(DisplayPublisher):  # type: ignore[misc]
    """Sends displays to the server, in order with the output."""

    send: Callable[[dict[str, Any]], None]
    # Whether the running cell's client takes `clear_output` events.
    rich = False

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
        """Send a display, and print it unless it is a picture, for clients that show only text."""
        self.shell.displayhook.send()
        if TEXT in data and not any(picture in data for picture in _IMAGES):
            streams.session_stream("stdout").write(f"{data[TEXT]}\n")
        display_id = (transient or {}).get("display_id")
        identity = {} if display_id is None else {"displayId": str(display_id), "update": bool(update)}
        self.send({"op": "display", "data": as_json(data), "metadata": dict(metadata or {}), **identity})

    def clear_output(self, wait: bool = False) -> None:
        """Send a `clear_output` event, or print the escape sequence that clears a line for clients without it."""
        if self.rich:
            self.send({"op": "clear_output", "wait": bool(wait)})
        else:
            super().clear_output(wait)


def as_json(forms: MimeBundle) -> MimeBundle:
    """Return a MIME bundle with its bytes in base64, as it is in JSON."""
    return {mime: base64.b64encode(form).decode() if isinstance(form, bytes) else form for mime, form in forms.items()}
