// Buttons that copy what stands beside them.

import { say } from "./actions.js";

export function start() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        say("Copied.", true);
      } catch {
        getSelection().selectAllChildren(source); // the browser does not allow it: then by hand
        say("Selected: copy it with the keyboard.", true);
      }
    });
  }
}
