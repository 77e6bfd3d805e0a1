"use strict";
/* The page's own script. It draws the interactive figures from the data blocks of the page, asks nothing of any other
   place, and puts names into the page as text only. Where it fails, the static figure stays. */
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6100", "#3b9ad9", "#000000", "#8c564b", "#6a51a3", "#7f7f7f"];
  const DARK = ["#56b4e9", "#ff8a3d", "#2fc49b", "#e6a3cb", "#f0b429", "#9fd4ff", "#f2f2f2", "#c49a8f", "#b9a5ea", "#a8a8a8"];
  const HEAT = ["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];

  function make(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function config() {
    const [ink, soft, line] = dark.matches ? ["#e4e7ea", "#9aa5b1", "#343b43"] : ["#1c2024", "#5a6470", "#d9dee3"];
    const font = getComputedStyle(document.body).fontFamily;
    const words = {labelFont: font, titleFont: font, labelColor: ink, titleColor: soft, labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal"};
    return {
      background: "transparent", font, view: {stroke: null}, rule: {color: soft},
      axis: {...words, gridColor: line, domainColor: line, tickColor: line, titleLimit: 320, labelLimit: 110},
      legend: {...words, symbolStrokeColor: soft, labelLimit: 260},
      range: {
        category: dark.matches ? DARK : LIGHT, heatmap: HEAT,
        ramp: dark.matches ? HEAT.slice(3) : HEAT.slice(0, 9),
        diverging: ["#2166ac", "#67a9cf", dark.matches ? "#30363d" : "#f7f7f7", "#ef8a62", "#b2182b"],
      },
    };
  }

  /** The rows of a panel: numbers as they are, texts from their codes. */
  function rowsOf(panel) {
    const names = Object.keys(panel.columns);
    const rows = Array.from({length: panel.rows}, () => ({}));
    for (const name of names) {
      const column = panel.columns[name];
      for (let i = 0; i < rows.length; i += 1)
        rows[i][name] = Array.isArray(column) ? column[i] : column.levels[column.codes[i]];
    }
    return rows;
  }

  function told(panel, row) {
    return panel.told.map(([title, name, digits]) => {
      const value = row[name];
      const text = digits === 0 ? String(value) : value === null ? "undefined" : String(Number(value.toPrecision(digits)));
      return `${title} ${text.replace(/^-(?=\d)/, "−")}`;
    }).join(", ");
  }

  // Small pictures of images: a sheet is decoded once, when the first is asked for.
  const sheets = new Map();
  function sheet(id) {
    if (!sheets.has(id)) {
      const found = JSON.parse(document.getElementById(id).textContent);
      const image = new Image();
      image.src = found.uri;
      sheets.set(id, {...found, image, at: new Map(found.rows.map((row, i) => [row, i]))});
    }
    return sheets.get(id);
  }

  function paint(canvas, id, sample) {
    const from = sheet(id), tile = from.at.get(sample);
    canvas.hidden = tile === undefined || !from.image.complete;
    if (canvas.hidden) return;
    const {side, across} = from;
    canvas.getContext("2d").drawImage(
      from.image, (tile % across) * side, Math.floor(tile / across) * side, side, side, 0, 0, canvas.width, canvas.height);
  }

  const tip = make("div", "tip"), tipText = make("p"), tipPicture = make("canvas");
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true"); // the readout below the figure says the same
  tipPicture.width = tipPicture.height = 96;
  tip.append(tipPicture, tipText);
  document.body.append(tip);

  function place(event) {
    tip.hidden = false;
    const {width, height} = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, innerWidth - width - 8);
    const top = event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  }

  /** A chart and what is said of the row that a mouse or keys look at. */
  class Chart {
    constructor(panel, readout, sheetId) {
      Object.assign(this, {panel, readout, sheetId, rows: rowsOf(panel), at: -1, view: null});
      this.element = make("div", "panel");
      this.element.tabIndex = 0;
      this.element.setAttribute("role", "group");
      this.element.setAttribute("aria-label", `${panel.title}: arrow keys go through ${panel.rows} numbers`);
      this.box = make("div", "chart");
      this.element.append(make("p", "panel-title", panel.title), this.box);
      this.element.addEventListener("keydown", event => this.key(event));
    }

    async draw() {
      const spec = structuredClone(this.panel.spec);
      spec.datasets = {...spec.datasets, rows: this.rows};
      if (this.panel.aspect) spec.height = Math.round(Math.max(this.box.clientWidth - 60, 120) * this.panel.aspect);
      if (this.view) this.view.finalize();
      const made = await vegaEmbed(this.box, spec, {
        mode: "vega-lite", ast: true, actions: false, defaultStyle: false, tooltip: false, config: config(),
        renderer: this.rows.length > 400 ? "canvas" : "svg",
      });
      this.view = made.view;
      this.box.setAttribute("aria-label", this.panel.title);
      this.view.addEventListener("mousemove", (event, item) => {
        const row = item && item.mark && ["rect", "symbol"].includes(item.mark.marktype) ? item.datum : null;
        if (!row || row.i === undefined) { tip.hidden = true; return; }
        this.look(row.i);
        tipText.textContent = told(this.panel, this.rows[row.i]);
        if (this.sheetId) paint(tipPicture, this.sheetId, this.rows[row.i].sample); else tipPicture.hidden = true;
        place(event);
      });
      this.view.addEventListener("mouseout", () => { tip.hidden = true; });
      if (this.at >= 0) this.look(this.at);
    }

    look(at) {
      this.at = at;
      this.view.signal("at", at).runAsync();
      this.readout.say(`${this.panel.title}: ${told(this.panel, this.rows[at])}`, this.sheetId, this.rows[at].sample);
    }

    key(event) {
      const {stride} = this.panel, last = this.rows.length - 1;
      const steps = {ArrowRight: 1, ArrowLeft: -1, ArrowUp: stride || 1, ArrowDown: -(stride || 1), Home: -Infinity, End: Infinity};
      if (!(event.key in steps) || !this.view || last < 0) return;
      event.preventDefault();
      const next = this.at + steps[event.key];
      if (this.at < 0) this.look(0);
      else if (!Number.isFinite(next)) this.look(next < 0 ? 0 : last);
      else if (next >= 0 && next <= last) this.look(next);
    }
  }

  class Readout {
    constructor() {
      this.element = make("div", "readout");
      this.text = make("p", "", "Nothing is pointed at.");
      this.text.setAttribute("role", "status");
      this.picture = make("canvas");
      this.picture.width = this.picture.height = 64;
      this.picture.hidden = true;
      this.picture.setAttribute("aria-hidden", "true");
      this.element.append(this.picture, this.text);
    }

    say(text, sheetId, sample) {
      this.text.textContent = text;
      if (sheetId) paint(this.picture, sheetId, sample);
    }
  }

  /** Pictures side by side under one slider. */
  function gallery(data, id) {
    const whole = make("div", "gallery"), changed = [];
    const rows = make("div", "gallery-rows");
    data.names.forEach((name, row) => {
      const line = make("div", "gallery-row");
      line.append(make("p", "gallery-name", name));
      const pictures = make("div", "gallery-pictures");
      const plain = data.pictures[data.images[row][0]];
      if (plain) {
        const first = make("div", "gallery-cell"), frame = make("div", "frame-of"), image = make("img");
        image.src = plain;
        image.alt = `${name}: the image`;
        frame.append(image);
        first.append(make("p", "gallery-title", "image"), frame, make("p", "gallery-text", ""));
        pictures.append(first);
      }
      data.columns.forEach((column, at) => {
        const cell = make("div", "gallery-cell"), frame = make("div", "frame-of");
        const below = data.pictures[data.images[row][at]], over = make("img", "over"), text = make("p", "gallery-text");
        if (below) {
          const image = make("img", "below");
          image.src = below;
          image.alt = "";
          frame.append(image);
        } else over.classList.add("alone");
        frame.append(over);
        cell.append(make("p", "gallery-title", column), frame, text);
        pictures.append(cell);
        changed.push(step => {
          const [picture, said] = data.cells[row][at][step];
          over.hidden = !data.pictures[picture];
          over.src = data.pictures[picture];
          over.alt = `${column}, ${name}: ${said}`;
          text.textContent = said;
        });
      });
      line.append(pictures);
      rows.append(line);
    });
    const show = step => changed.forEach(change => change(step));
    if (data.steps.length > 1) {
      const control = make("div", "slider"), label = make("label", "", data.slider), slider = make("input");
      const said = make("output", "", data.steps[0]);
      Object.assign(slider, {type: "range", min: "0", max: String(data.steps.length - 1), step: "1", value: "0", id: `${id}-slider`});
      label.htmlFor = slider.id;
      said.htmlFor = slider.id;
      slider.setAttribute("aria-valuetext", data.steps[0]);
      slider.addEventListener("input", () => {
        const step = Number(slider.value);
        said.textContent = data.steps[step];
        slider.setAttribute("aria-valuetext", data.steps[step]);
        show(step);
      });
      control.append(label, slider, said);
      whole.append(control);
    }
    show(0);
    whole.append(rows);
    return whole;
  }

  const charts = [];
  async function enliven(figure) {
    const id = figure.dataset.twin, data = JSON.parse(document.getElementById(id).textContent);
    const live = figure.querySelector(".live"), readout = new Readout();
    const mine = data.panels.map(panel => new Chart(panel, readout, figure.dataset.sheet));
    if (figure.dataset.sheet) sheet(figure.dataset.sheet);
    if (data.gallery) live.append(gallery(data.gallery, id));
    if (mine.length) {
      const panels = make("div", "panels");
      panels.append(...mine.map(chart => chart.element));
      live.append(panels, readout.element);
    }
    live.hidden = false;
    figure.classList.add("is-live"); // before charts ask how wide they are
    for (const chart of mine) await chart.draw();
    charts.push(...mine);
    const switched = make("button", "switch", "Static figure");
    switched.type = "button";
    switched.setAttribute("aria-pressed", "false");
    switched.addEventListener("click", () => {
      const still = figure.classList.toggle("is-live") === false;
      switched.setAttribute("aria-pressed", String(still));
    });
    if (figure.querySelector(".static img")) figure.querySelector(".switches").append(switched);
  }

  // One after another, with the page at hand between two; those that are seen first.
  const waiting = [...document.querySelectorAll("figure[data-twin]")];
  async function drawAll() {
    while (waiting.length) {
      const seen = waiting.findIndex(figure => {
        const {top, bottom} = figure.getBoundingClientRect();
        return bottom > 0 && top < innerHeight;
      });
      const [figure] = waiting.splice(Math.max(seen, 0), 1);
      try {
        await enliven(figure);
      } catch (error) {
        figure.classList.remove("is-live");
        console.error("an interactive figure cannot be drawn", error);
      }
      await new Promise(resolve => { setTimeout(resolve); });
    }
    document.documentElement.dataset.drawn = "all";
  }
  drawAll();
  dark.addEventListener("change", () => charts.forEach(chart => chart.draw()));

  if (matchMedia("(max-width: 62rem)").matches) document.querySelector("nav details").open = false;

  // A link may lead into what is folded.
  function unfold() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let one = target.closest("details"); one; one = one.parentElement.closest("details")) one.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", unfold);
  if (location.hash) unfold();

  // What is folded is printed too, but for tables of all numbers, which fill a book: results.csv has them.
  const opened = [];
  addEventListener("beforeprint", () => document.querySelectorAll("details:not([open], .every)").forEach(one => { one.open = true; opened.push(one); }));
  addEventListener("afterprint", () => opened.splice(0).forEach(one => { one.open = false; }));
})();
