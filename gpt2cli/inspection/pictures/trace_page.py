"""A trace of sampling as an HTML page to step through, in one file that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from gpt2cli.inspection.trace import TraceStep
from gpt2cli.scoring.pictures.canvas import escape
from gpt2cli.text.printable import escaped

HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
"""
BODY = """<style>
body { margin: 1rem auto; max-width: 56rem; padding: 0 1rem; background: #fff; color: #111;
  font: 1rem/1.4 system-ui, sans-serif; }
#text { font: 1rem/1.7 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
#text b { background: #fa5; } #text i { color: #777; font-style: normal; }
nav { display: flex; gap: .5rem; align-items: center; flex-wrap: wrap; }
nav input[type=range] { flex: 1; min-width: 8rem; }
button { font-size: 1.1rem; padding: .2rem .8rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .1rem .5rem; white-space: nowrap; }
th:nth-child(2), td:nth-child(2), td:nth-child(6), td:last-child, th:last-child { text-align: left; }
td:nth-child(2) { font-family: ui-monospace, monospace; white-space: pre; }
tr.cut { color: #888; } tr.chosen { background: #ffe0b0; font-weight: bold; }
td span { display: inline-block; height: .8em; background: #3182bd; vertical-align: middle; }
#line { position: relative; height: 2.2rem; border: 1px solid #888; margin: .5rem 0; overflow: hidden; }
#line div { position: absolute; top: 0; bottom: 0; border-right: 1px solid #fff; background: #9ecae1;
  font: .75rem/2.2rem ui-monospace, monospace; white-space: pre; overflow: hidden; text-align: center; }
#line .chosen { background: #fa5; } #line hr { position: absolute; top: -.5rem; bottom: -.5rem; width: 0;
  border: 0; border-left: 3px solid #c00; margin: 0; height: 4rem; }
</style>
<nav><select id="sample" aria-label="sample"></select><button id="back" aria-label="back">&#9664;</button>
<input type="range" id="at" min="0" value="0" aria-label="step">
<button id="on" aria-label="on">&#9654;</button>
<output id="where"></output></nav>
<p id="text"></p>
<p id="said"></p>
<div id="line"></div>
<table><thead><tr><th>rank<th>token<th>logit<th>adjusted<th>probability<th><th>chance<th>cut by</thead>
<tbody id="rows"></tbody></table>
"""
SCRIPT = """<script>
"use strict";
const trace = JSON.parse(document.getElementById("trace").textContent);
const get = (id) => document.getElementById(id);
const add = (parent, name, text, kind) => {
  const child = document.createElement(name);
  if (text !== undefined) child.textContent = text;
  if (kind) child.className = kind;
  parent.append(child);
  return child;
};
const percent = (share) => share === 0 ? "" : share < 0.0001 ? "<0.01 %" : (100 * share).toFixed(2) + " %";
const names = {ban: "a ban", temperature: "temperature 0", top_k: "top-k", top_p: "top-p", min_p: "min-p"};
const samples = new Map();
for (const step of trace.steps) {
  if (!samples.has(step.index)) samples.set(step.index, []);
  samples.get(step.index).push(step);
}
for (const index of samples.keys()) add(get("sample"), "option", "sample " + index).value = index;
get("sample").hidden = samples.size < 2;
function show() {
  const steps = samples.get(Number(get("sample").value)) || [];
  get("at").max = Math.max(steps.length - 1, 0);
  const at = Number(get("at").value), step = steps[at];
  get("back").disabled = at === 0;
  get("on").disabled = at >= steps.length - 1;
  for (const id of ["text", "line", "rows"]) get(id).replaceChildren();
  add(get("text"), "i", trace.prompt);
  get("where").value = step ? "step " + step.step + " of " + steps.length : "no steps";
  if (!step) return;
  add(get("text"), "span", steps.slice(0, at).map((one) => one.text).join(""));
  add(get("text"), "b", step.text);
  let said = "Temperature " + step.temperature + ". ";
  for (const {filter, tokens, probability} of step.filters)
    said += "After " + names[filter] + ", " + tokens + " tokens with " + percent(probability) + ". ";
  get("said").textContent = said + (step.drawn === null ? "Nothing is drawn."
    : "The number drawn is " + step.drawn.toFixed(4) + ": the red line.");
  for (const token of step.tokens) {
    const isChosen = token.id === step.id;
    const row = add(get("rows"), "tr", undefined, isChosen ? "chosen" : token.cut ? "cut" : "");
    add(row, "td", token.rank);
    add(row, "td", token.text);
    add(row, "td", token.logit === null ? "" : token.logit.toFixed(2));
    add(row, "td", token.adjusted === null ? "banned" : token.adjusted.toFixed(2));
    add(row, "td", percent(token.probability));
    add(add(row, "td"), "span").style.width = (6 * token.probability).toFixed(3) + "rem";
    add(row, "td", percent(token.chance));
    add(row, "td", token.cut ? names[token.cut] : "");
    if (token.start === null) continue;
    const part = add(get("line"), "div", token.text, isChosen ? "chosen" : "");
    part.style.left = 100 * token.start + "%";
    part.style.width = 100 * (token.end - token.start) + "%";
    part.title = token.text + " " + percent(token.chance);
  }
  if (step.drawn !== null) add(get("line"), "hr").style.left = 100 * step.drawn + "%";
}
const move = (by) => { get("at").value = Number(get("at").value) + by; show(); };
get("back").onclick = () => move(-1);
get("on").onclick = () => move(1);
get("at").oninput = show;
get("sample").onchange = () => { get("at").value = 0; show(); };
document.onkeydown = (event) => {
  if (event.target.id === "at") return;
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
};
show();
</script>
"""


def trace_page(steps: Iterable[TraceStep], prompt: str, title: str) -> bytes:
    """Return a page that shows the tokens of each step, the filters that cut them, and the draw."""
    shown = [_printable(step) for step in steps]
    data = json.dumps({"prompt": _shown(prompt), "steps": shown}, allow_nan=False)
    # No text can end the element that holds it.
    safe = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    stored = f'<script type="application/json" id="trace">{safe}</script>\n'
    page = f"{HEAD.format(title=escape(escaped(title)))}{BODY}{stored}{SCRIPT}"
    return page.encode()


def _printable(step: TraceStep) -> dict[str, object]:
    shown = asdict(step)
    shown["text"] = _shown(step.text)
    for token, values in zip(step.tokens, shown["tokens"], strict=True):
        values["text"] = escaped(token.text)
    return shown


def _shown(text: str) -> str:
    """Return text of several lines without unprintable characters."""
    return "\n".join(map(escaped, text.split("\n")))
