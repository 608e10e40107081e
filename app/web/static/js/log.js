// Follows a log: shows what is written while the page is open, and stays at its end until a person scrolls up.
const MAX_CHARACTERS = 400_000;
const RETRY_MS = 3000;
const ANSI = /\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-_])/g;
// Of the control characters only tab and newline stay; the rest become the symbols that Unicode has for them.
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

export function plain(text) {
  return text.replace(ANSI, "").replaceAll("\r\n", "\n").replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\ufffd";
  });
}

class Follower {
  constructor(section) {
    this.section = section;
    this.button = section.querySelector("[data-log-follow]");
    this.following = false;
    this.sticky = true;
    this.request = null;
    this.button.addEventListener("click", () => this.toggle());
    section.addEventListener("scroll", () => this.scrolled(), true);
    document.addEventListener("visibilitychange", () => this.visibility());
  }

  // A refreshed section may have another element.
  get text() {
    return this.section.querySelector("[data-log-text]");
  }

  toggle() {
    if (this.following && !this.sticky) this.stick();
    else if (this.following) this.stop();
    else this.start();
  }

  start() {
    this.following = true;
    this.sticky = true;
    this.section.dataset.following = "";
    this.label();
    this.read();
  }

  stop() {
    this.following = false;
    this.request?.abort();
    this.request = null;
    delete this.section.dataset.following;
    this.label();
  }

  stick() {
    this.sticky = true;
    this.text.scrollTop = this.text.scrollHeight;
    this.label();
  }

  scrolled() {
    const atEnd = this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < 8;
    if (this.following && atEnd !== this.sticky) {
      this.sticky = atEnd;
      this.label();
    }
  }

  label(ended = false) {
    const text = ended ? "Ended" : !this.following ? "Follow" : this.sticky ? "Stop following" : "To the end";
    this.button.textContent = text;
    this.button.setAttribute("aria-pressed", String(this.following));
    this.button.disabled = ended;
  }

  // A hidden tab holds no connection: browsers have few of them per host.
  visibility() {
    if (!this.following) return;
    if (document.hidden) {
      this.request?.abort();
      this.request = null;
    } else if (!this.request) this.read();
  }

  async read() {
    const request = new AbortController();
    this.request = request;
    try {
      const response = await fetch(this.section.dataset.logSrc, { signal: request.signal });
      if (!response.ok) throw new Error(`the service answered ${response.status}`);
      this.text.textContent = "";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      // A terminal sequence or a line end may be cut in two: what follows the last newline waits for its end.
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const all = rest + value;
        const end = all.lastIndexOf("\n") + 1;
        rest = all.slice(end);
        this.append(all.slice(0, end));
      }
      this.append(rest);
      this.request = null;
      this.stop();
      this.label(true);
    } catch (error) {
      if (request.signal.aborted) return;
      this.request = null;
      this.button.textContent = "Connection lost, trying again";
      setTimeout(() => this.following && !this.request && !document.hidden && this.read(), RETRY_MS);
    }
  }

  append(text) {
    if (!text) return;
    this.text.append(plain(text));
    let surplus = this.text.textContent.length - MAX_CHARACTERS;
    while (surplus > 0 && this.text.childNodes.length > 1) {
      surplus -= this.text.firstChild.textContent.length;
      this.text.firstChild.remove();
    }
    if (this.sticky) this.text.scrollTop = this.text.scrollHeight;
    if (this.button.textContent.startsWith("Connection")) this.label();
  }
}

const known = new WeakSet();

function isNew(element) {
  if (known.has(element)) return false;
  known.add(element);
  return true;
}

function adopt() {
  for (const section of document.querySelectorAll("[data-log]")) {
    const text = section.querySelector("[data-log-text]");
    const button = section.querySelector("[data-log-follow]");
    if (!text) continue;
    if (isNew(text) && !location.hash.startsWith("#byte-")) text.scrollTop = text.scrollHeight;
    if (!button) continue;
    // The server hides it: without scripts it would do nothing.
    button.hidden = false;
    if (isNew(button)) new Follower(section);
  }
}

adopt();
// The first lines come after the page.
document.addEventListener("htmx:after:swap", adopt);

// Shift+F shows the log on the full screen.
document.addEventListener("keydown", (event) => {
  if (event.key !== "F" || !event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, textarea, select, dialog")) return;
  const text = document.querySelector("[data-log-text]");
  if (document.fullscreenElement) document.exitFullscreen();
  else text?.requestFullscreen?.();
});
