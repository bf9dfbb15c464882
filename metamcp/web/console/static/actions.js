// Forms that do something: without leaving the page where they can, and never twice.

const STAY_MS = 8000;

export function start() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if ("act" in form.dataset) {
      event.preventDefault();
      act(form);
    } else if (form.dataset.busy) {
      const button = form.querySelector("button[type=submit]");
      button.disabled = true;
      button.textContent = form.dataset.busy;
    }
  });
  document.querySelector("[data-focus]")?.focus();
}

async function act(form) {
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
    });
    if (answer.status === 401) location.reload();
    const document = await answer.json();
    say(document.text ?? document.error?.message ?? document.error ?? `Answer ${answer.status}`, answer.ok);
  } catch {
    say("The gateway does not answer.", false);
  } finally {
    button.disabled = false;
    button.focus();
  }
}

/** In the region that screen readers announce; errors stay until they are clicked away. */
export function say(text, good) {
  const message = document.createElement("p");
  message.className = good ? "message good" : "message bad";
  const close = document.createElement("button");
  close.type = "button";
  close.ariaLabel = "Dismiss";
  close.textContent = "×";
  close.addEventListener("click", () => message.remove());
  message.append(text, close);
  document.getElementById("messages").append(message);
  if (good) setTimeout(() => message.remove(), STAY_MS);
}
