// One tab a task. A file goes to /run/VERB as it is; what comes back is shown by SHOW[verb].

const STEP = 700; // milliseconds for each word of a caption
const NUMBER = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** An element with attributes, listeners (onclick ...) and children. */
function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "polygon", "polyline", "path", "text", "line", "title", "g"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat());
  return node;
}

/** A picture with a canvas above it that shows one attention map at a time. */
function stage(source) {
  const canvas = el("canvas");
  const box = el("div", { class: "stage" }, el("img", { src: source, alt: "your picture" }), canvas);
  box.look = (map) => {
    const height = map ? map.length : 1, width = map ? map[0].length : 1;
    const small = el("canvas", { width, height });
    const pixels = new ImageData(width, height);
    for (let i = 0; map && i < width * height; i++) {
      const weight = map[Math.floor(i / width)][i % width];
      pixels.data.set([10, 12, 30, Math.round(215 * (1 - weight))], 4 * i);
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    [canvas.width, canvas.height] = [32 * width, 32 * height];
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    if (map) context.drawImage(small, 0, 0, canvas.width, canvas.height);
  };
  return box;
}

const SHOW = {
  caption(found) {
    const picture = stage(found.image), line = el("p", { class: "caption", "aria-live": "polite" });
    const others = el("ul", { class: "others", "aria-label": "Captions, best first" });
    let timer;
    const show = (index) => {
      const { words, maps } = found.captions[index];
      const buttons = words.map((word, k) => el("button", { class: "word", type: "button", onclick: () => { clearInterval(timer); pick(k); } }, word));
      const pick = (k) => {
        buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === k));
        picture.look(maps[k]);
      };
      line.replaceChildren(...buttons.flatMap((button) => [button, " "]));
      for (const [i, item] of [...others.children].entries()) item.firstChild.setAttribute("aria-pressed", i === index);
      clearInterval(timer);
      let k = 0;
      pick(k);
      timer = setInterval(() => {
        k = (k + 1) % (words.length + 2);
        if (!line.isConnected) clearInterval(timer);
        else if (k < words.length) pick(k);
        else picture.look(null);
      }, STEP);
    };
    found.captions.forEach((c, i) => others.append(el("li", {}, el("button", { type: "button", onclick: () => show(i) }, c.text))));
    show(0);
    return [picture, el("div", {}, line, el("p", {}, "Where it looked for each word: watch, or pick one. Other captions:"), others)];
  },

  read(found) {
    const [width, height] = found.size;
    const frames = el("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
    const text = el("textarea", { class: "text", readonly: true, "aria-label": "The text of the page" });
    text.value = found.text;
    for (const line of found.lines) {
      const title = `${line.text} (${percent(line.confidence)} sure)`;
      frames.append(el("polygon", {
        points: line.polygon.map((p) => p.join(",")).join(" "), class: line.confidence < 0.8 ? "unsure" : "",
        onmouseenter: (event) => { event.target.classList.add("lit"); find(line.text); }, onmouseleave: (event) => event.target.classList.remove("lit"),
      }, el("title", {}, title)));
    }
    const find = (part) => {
      const at = text.value.indexOf(part);
      if (at >= 0) text.setSelectionRange(at, at + part.length);
    };
    const copy = el("button", { class: "action", type: "button", onclick: async () => {
      try { await navigator.clipboard.writeText(text.value); } catch { text.select(); document.execCommand("copy"); }
      copy.textContent = "Copied";
    } }, "Copy the text");
    const count = found.lines.length ? `${found.lines.length} lines; orange ones were read with less than 80 % confidence.` : "No text was found.";
    return [el("div", { class: "stage" }, el("img", { src: found.image, alt: "your page" }), frames), el("div", {}, text, el("div", { class: "row" }, copy, el("span", {}, count)))];
  },

  segment(found) {
    const over = el("img", { class: "over", src: found.overlay, alt: "", style: { opacity: 0.55 } });
    const slider = el("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0.55, "aria-label": "How strongly the classes cover the picture", oninput: () => { over.style.opacity = slider.value; } });
    const rows = found.classes.map((c) => el("tr", {}, el("td", {}, el("span", { class: "swatch", style: { background: `rgb(${c.colour})` } }), c.name.replace("_", " ")), el("td", { class: "number" }, percent(c.share))));
    return [el("div", { class: "stage" }, el("img", { src: found.image, alt: "your picture" }), over), el("div", {}, el("div", { class: "row" }, "photo", slider, "classes"), el("table", {}, el("tbody", {}, rows)))];
  },

  ask(found, panel) {
    const old = panel.result.querySelector("dl"), list = old && panel.kept ? old : el("dl");
    const picture = stage(found.image);
    picture.look(found.maps.at(-1));
    const known = found.unknown_words.length ? ` It does not know: ${found.unknown_words.join(", ")}.` : "";
    list.append(el("dt", {}, found.question), el("dd", {}, found.answer, el("br"), el("small", {}, found.top.map((t) => `${t.text} ${percent(t.probability)}`).join(", ") + "." + known)));
    panel.kept = true;
    return [picture, el("div", {}, list)];
  },

  classify(found) {
    const last = found.times.at(-1)[1], first = found.times[0][0];
    const colours = ["#2456c7", "#c2571a", "#2b8a3e", "#8a3ab0"];
    const known = new Map(found.curves.map((c, i) => [c.label, colours[i]]));
    const bar = el("div", { class: "bar" }, found.segments.map((s) => el("span", { title: `${s.start.toFixed(1)} to ${s.end.toFixed(1)} s`, style: { flex: Math.max(s.end - s.start, 0.01), background: known.get(s.label) ?? "#666" } }, s.label)));
    const rows = found.segments.map((s) => el("tr", {}, el("td", {}, `${s.start.toFixed(1)} to ${s.end.toFixed(1)} s`), el("td", {}, s.label), el("td", { class: "number" }, percent(s.score))));
    const lines = found.curves.map((c, i) => ({ name: c.label, colour: colours[i], points: c.values.map((v, k) => [(found.times[k][0] + found.times[k][1]) / 2, v]) }));
    return [el("div", { class: "strip" }, found.thumbnails.map((t) => el("img", { src: t.image, alt: `${t.time.toFixed(1)} s`, title: `${t.time.toFixed(1)} s` }))), bar,
      chart(lines, { x: [first, last], y: [0, 1], ticks: [`${first.toFixed(1)} s`, `${last.toFixed(1)} s`], side: ["0 %", "100 %"] }),
      el("table", {}, el("thead", {}, el("tr", {}, ["When", "What", "How sure"].map((h) => el("th", {}, h)))), el("tbody", {}, rows))];
  },

  forecast(found, panel) {
    const n = found.past.length, past = found.past.map((p, i) => [i, p[1]]);
    const joined = [[n - 1, found.past.at(-1)[1]], ...found.future.map((f, i) => [n + i, f[2]])];
    const band = [...found.future.map((f, i) => [n + i, f[1]]), ...found.future.map((f, i) => [n + i, f[3]]).reverse()];
    const all = [...past, ...joined, ...band].map((p) => p[1]), low = Math.min(...all), high = Math.max(...all);
    panel.choose?.(found);
    const rows = found.future.map((f) => el("tr", {}, el("td", {}, f[0]), el("td", { class: "number" }, NUMBER.format(f[2])), el("td", { class: "number" }, `${NUMBER.format(f[1])} to ${NUMBER.format(f[3])}`)));
    return [chart([{ name: found.value, colour: "#7a8494", points: past }, { name: "forecast", colour: "#2456c7", points: joined }], {
      x: [0, n + found.horizon - 1], y: [low, high], ticks: [found.past[0][0], found.future.at(-1)[0]], side: [NUMBER.format(low), NUMBER.format(high)], band }),
      el("table", {}, el("thead", {}, el("tr", {}, [found.date, found.value, "10 % to 90 %"].map((h) => el("th", {}, h)))), el("tbody", {}, rows))];
  },
};

/** Lines over a common axis. */
function chart(lines, { x, y, ticks, side, band }) {
  const [width, height, left, top] = [800, 300, 64, 28];
  const px = (v) => left + (width - left - 16) * (v - x[0]) / (x[1] - x[0] || 1);
  const py = (v) => top + (height - top - 30) * (1 - (v - y[0]) / (y[1] - y[0] || 1));
  const place = (points) => points.map(([a, b]) => `${px(a).toFixed(1)},${py(b).toFixed(1)}`).join(" ");
  const svg = el("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": lines.map((l) => l.name).join(", ") });
  for (const v of y) svg.append(el("line", { x1: left, x2: width - 16, y1: py(v), y2: py(v), stroke: "currentColor", "stroke-opacity": 0.2 }));
  svg.append(el("text", { x: left - 6, y: py(y[0]) + 4, "text-anchor": "end" }, side[0]), el("text", { x: left - 6, y: py(y[1]) + 4, "text-anchor": "end" }, side[1]),
    el("text", { x: left, y: height - 8 }, ticks[0]), el("text", { x: width - 16, y: height - 8, "text-anchor": "end" }, ticks[1]));
  if (band) svg.append(el("polygon", { points: place(band), fill: "#2456c7", "fill-opacity": 0.2 }));
  let at = left;
  for (const line of lines) {
    svg.append(el("polyline", { points: place(line.points), fill: "none", stroke: line.colour, "stroke-width": 2.2 }));
    if (line.points.length === 1) svg.append(el("line", { x1: px(x[0]), x2: px(x[1]), y1: py(line.points[0][1]), y2: py(line.points[0][1]), stroke: line.colour, "stroke-width": 2.2 }));
    svg.append(el("line", { x1: at, x2: at + 18, y1: 14, y2: 14, stroke: line.colour, "stroke-width": 3 }), el("text", { x: at + 24, y: 18 }, line.name));
    at += 44 + 7.5 * line.name.length;
  }
  return svg;
}

const ACCEPT = { classify: "video/*", forecast: ".csv,.tsv,.txt", read: "image/*,.pdf,.tif,.tiff" };

/** The panel of a task: where a file comes in, its options, what came out. */
function makePanel(tab) {
  const input = el("input", { type: "file", accept: ACCEPT[tab.verb] ?? "image/*", "aria-label": `${tab.title}: a file`, onchange: () => input.files[0] && take(input.files[0]) });
  const drop = el("label", { class: "drop" }, el("span", {}, "Drop a file here, or pick one"), input);
  for (const name of ["dragover", "dragleave", "drop"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.toggle("over", name === "dragover"); });
  drop.addEventListener("drop", (event) => event.dataTransfer.files[0] && take(event.dataTransfer.files[0]));
  const examples = el("div", { class: "examples", "aria-label": "Examples" }, tab.examples.map((name) => el("button", { type: "button", title: `example: ${name}`, onclick: () => example(name) },
    /\.(jpg|png)$/.test(name) ? el("img", { src: `examples/${name}`, alt: `example: ${name}`, loading: "lazy" }) : name)));
  const status = el("p", { class: "status", role: "status" }), result = el("div", { class: ["classify", "forecast"].includes(tab.verb) ? "result full" : "result" });
  const panel = { result, file: null, kept: false };
  const options = makeOptions(tab, panel, () => panel.file && run());
  panel.node = el("section", { id: `panel-${tab.verb}`, role: "tabpanel", "aria-labelledby": `tab-${tab.verb}`, hidden: true }, el("p", {}, el("strong", {}, tab.title), ". ", tab.does), el("div", { class: "input" }, drop, examples), options ?? [], status, result);

  async function example(name) {
    const answer = await fetch(`examples/${name}`);
    take(new File([await answer.blob()], name));
  }
  function take(file) {
    panel.file = file;
    panel.kept = false;
    input.value = "";
    options?.reset?.();
    if (tab.verb === "ask" && !options.elements.question.value.trim()) options.elements.question.value = "what is on the table?";
    run();
  }
  async function run() {
    if (panel.busy) return;
    panel.busy = true;
    const started = performance.now();
    const tick = () => { status.textContent = `Working on ${panel.file.name} … ${((performance.now() - started) / 1000).toFixed(0)} s`; };
    status.className = "status";
    tick();
    const timer = setInterval(tick, 500);
    try {
      const query = new URLSearchParams({ name: panel.file.name, ...(options?.values() ?? {}) });
      const answer = await fetch(`run/${tab.verb}?${query}`, { method: "POST", body: panel.file });
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error);
      result.replaceChildren(...SHOW[tab.verb](found, panel));
      status.textContent = `${panel.file.name}: done in ${((performance.now() - started) / 1000).toFixed(1)} s`;
    } catch (error) {
      status.className = "status bad";
      status.textContent = error instanceof TypeError ? "The program does not answer: is `visionrnn demo` still running, and the file not too large?" : error.message;
    } finally {
      clearInterval(timer);
      panel.busy = false;
    }
  }
  return panel;
}

/** What stands between the file and the result, for the tasks that need it. */
function makeOptions(tab, panel, run) {
  const submit = (event) => { event.preventDefault(); run(); };
  if (tab.verb === "ask") {
    const question = el("input", { type: "text", name: "question", placeholder: "what is on the table?", autocomplete: "off", size: 40 });
    const form = el("form", { onsubmit: submit }, el("label", { class: "wide" }, "Your question", question), el("button", { class: "action" }, "Ask"));
    form.values = () => ({ question: question.value });
    return form;
  }
  if (tab.verb === "classify") {
    const model = el("select", { name: "model", onchange: () => run() }, tab.models.map(([name, knows]) => el("option", { value: name }, `${name}: ${knows}`)));
    const form = el("form", { onsubmit: submit }, el("label", {}, "Model", model));
    form.values = () => ({ model: model.value });
    return form;
  }
  if (tab.verb === "forecast") {
    const date = el("select", { name: "date" }), value = el("select", { name: "value" });
    const horizon = el("input", { type: "number", name: "horizon", min: 1, max: 400 });
    const form = el("form", { onsubmit: submit, hidden: true }, el("label", {}, "Dates", date), el("label", {}, "Values", value), el("label", {}, "Rows ahead", horizon), el("button", { class: "action" }, "Forecast again"));
    panel.choose = (found) => {
      for (const [select, chosen] of [[date, found.date], [value, found.value]]) select.replaceChildren(...found.columns.map((c) => el("option", { selected: c === chosen }, c)));
      horizon.value = found.horizon;
      form.hidden = false;
    };
    form.reset = () => { form.hidden = true; };
    form.values = () => (form.hidden ? {} : { date: date.value, value: value.value, horizon: horizon.value });
    return form;
  }
  return null;
}

const tabs = await (await fetch("tabs")).json();
const list = document.getElementById("tabs"), panels = document.getElementById("panels");
const select = (verb) => {
  for (const button of list.children) {
    const on = button.id === `tab-${verb}`;
    button.setAttribute("aria-selected", on);
    button.tabIndex = on ? 0 : -1;
    document.getElementById(button.getAttribute("aria-controls")).hidden = !on;
  }
  history.replaceState(null, "", `#${verb}`);
};
for (const tab of tabs) {
  panels.append(makePanel(tab).node);
  list.append(el("button", { id: `tab-${tab.verb}`, type: "button", role: "tab", "aria-controls": `panel-${tab.verb}`, onclick: () => select(tab.verb) }, tab.verb[0].toUpperCase() + tab.verb.slice(1)));
}
list.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const buttons = [...list.children], next = buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length);
  next.focus();
  next.click();
});
select(tabs.some((tab) => `#${tab.verb}` === location.hash) ? location.hash.slice(1) : tabs[0].verb);
