// The console's scripts: each makes something live that the page shows without it, too.

import * as actions from "./actions.js";
import * as charts from "./charts.js";
import * as configuration from "./configuration.js";
import * as copying from "./copying.js";
import * as editing from "./editing.js";
import * as fields from "./fields.js";
import * as inspector from "./inspector.js";
import * as overview from "./overview.js";
import * as stderr from "./stderr.js";
import * as times from "./times.js";

for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
for (const element of document.querySelectorAll(".unscripted")) element.hidden = true;
for (const room of [times, actions, copying, fields, overview, stderr, charts, inspector, configuration, editing]) room.start();
