// Output: text, displays and values, of a cell or of what runs between cells.

const MAX_BLOCKS = 200, MAX_FRAME_HEIGHT = 600;

let shownDisplays = new Map(); // by display id or, if saved to a file without an id, by the URL of that file

/** A list of blocks, each text or a display. */
class Output {
  constructor() {
    this.element = make("div", {className: "output"});
  }

  /** Removes the output; with `wait`, only when there is new output. */
  clear(wait) {
    this.clearPending = wait;
    if (wait) return;
    this.text = null;
    this.element.replaceChildren();
  }

  write(text, stream) {
    if (this.clearPending) this.clear(false);
    if (!this.text) {
      const terminal = new Terminal();
      this.append(terminal.element);
      this.text = terminal;
    }
    this.text.write(text, stream);
  }

  append(block) {
    if (this.clearPending) this.clear(false);
    this.text = null;
    this.element.append(block);
    if (this.element.children.length > MAX_BLOCKS) this.element.firstChild.remove();
  }

  /** Shows a display, in place of the one that it updates. */
  display({data, metadata, displayId, update}) {
    const view = new DisplayView();
    view.show(data, metadata);
    this.place(view, displayId, update, (shown) => shown.show(data, metadata));
  }

  /** Shows a display that was saved to a file. */
  asset(asset) {
    const {url, path, assetType, mimeType, displayId, update} = asset;
    const name = path.split("/").at(-1);
    const isImage = assetType === "image" || assetType === "svg";
    const view = isImage ? new ImageView(`${name} (${mimeType})`) : new DisplayView();
    if (!isImage) view.link(asset, name);
    const isShown = this.place(view, displayId ?? url, update, (shown) => isImage ? shown.fetch?.(asset) : shown.link?.(asset, name));
    if (isImage && !isShown) void view.fetch(asset);
  }

  /** Appends a view, or calls `replace` with the one of the display that this one updates; returns whether it did. */
  place(view, key, update, replace) {
    const shown = update ? shownDisplays.get(key) : undefined;
    if (shown?.element.isConnected && shown.constructor === view.constructor) {
      replace(shown);
      return true;
    }
    if (shown?.element.isConnected) shown.element.replaceWith(view.element);
    else this.append(view.element);
    if (key) shownDisplays.set(key, view);
    return false;
  }
}

/** A display, in the first of its forms that the page can show. */
class DisplayView {
  constructor() {
    this.element = make("div");
  }

  show(data, metadata) {
    this.element.replaceChildren(formOf(data, metadata));
  }

  link({url, path, mimeType}, name) {
    this.element.replaceChildren(recall("token") ? make("span", {}, `${mimeType}, in the file ${path}`) // a link cannot send the token
      : make("a", {href: url, target: "_blank", rel: "noopener noreferrer", title: path}, `Open ${name} (${mimeType})`));
  }
}

function formOf(data, metadata) {
  const mimeType = Object.keys(data).find((each) => /^image\/(png|jpeg|gif|webp|svg\+xml)$/.test(each));
  if (mimeType) {
    const image = make("img", {alt: `Image (${mimeType})`, src: imageUrl(mimeType, data[mimeType])});
    resize(image, {...metadata, ...metadata[mimeType]});
    return image;
  }
  if (typeof data["text/html"] === "string") return frameOf(data["text/html"]);
  if (data["application/pdf"]) {
    return make("a", {href: `data:application/pdf;base64,${data["application/pdf"]}`, download: "document.pdf"}, "Save the PDF document");
  }
  const text = data["text/markdown"] ?? data["text/latex"] ?? data["text/plain"];
  const terminal = new Terminal();
  terminal.write(String(text ?? JSON.stringify(data, null, 2)), "stdout");
  return terminal.element;
}

const imageUrl = (mimeType, form) => mimeType === "image/svg+xml" ? `data:${mimeType};charset=utf-8,${encodeURIComponent(form)}`
  : `data:${mimeType};base64,${form}`;

function resize(image, sizes) {
  for (const side of ["width", "height"]) {
    if (sizes[side] > 0) image[side] = sizes[side];
    else image.removeAttribute(side);
  }
}

/** Shows HTML in a frame of its own. There it may run scripts, without an origin: see frame.html. */
function frameOf(html) {
  const frame = make("iframe", {src: "/frame", title: "HTML output", loading: "lazy"});
  frame.addEventListener("load", () => frame.contentWindow.postMessage(html, "*"), {once: true});
  return frame;
}

addEventListener("message", ({source, data}) => {
  const frame = [...document.querySelectorAll("iframe")].find(({contentWindow}) => contentWindow === source);
  if (frame && data > 0) frame.style.height = `${Math.min(Math.ceil(data), MAX_FRAME_HEIGHT)}px`;
});

/** An image in a file. It is fetched by script, because <img> cannot send the token. */
class ImageView {
  constructor(alt) {
    this.element = make("img", {alt});
  }

  /** Shows an asset. Updates that arrive during a fetch are skipped, except the last. */
  async fetch(asset) {
    this.asset = asset;
    if (this.isFetching) return;
    this.isFetching = true;
    try {
      for (let shown; shown !== this.asset;) {
        shown = this.asset;
        const response = await call("GET", shown.url.replace(API, ""));
        this.element.src = await dataUrl(await response.blob());
        resize(this.element, shown.metadata);
      }
    } catch (error) {
      this.element.replaceWith(make("span", {className: "failed"}, `${this.element.alt}: ${error.message}`));
    }
    this.isFetching = false;
  }
}

function dataUrl(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
}
