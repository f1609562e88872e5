// The page of a run: pictures by training step, paths that play, and curves that answer the pointer.

const byId = (id) => document.getElementById(id);
const dataOf = (id) => JSON.parse(byId(id).textContent);

// ---- pictures by step ---------------------------------------------------------------------------------------------

const number = byId("picture-number");
if (number) {
  const pictures = dataOf("pictures");
  const picture = byId("picture");
  number.disabled = false;
  number.addEventListener("input", () => {
    const { step, source } = pictures[Number(number.value)];
    picture.alt = picture.alt.replace(/after [\d,]+ steps/, `after ${step} steps`);
    picture.src = source;
    byId("picture-step").textContent = `Step ${step}`;
    number.setAttribute("aria-valuetext", `step ${step}`);
  });
}

// ---- paths --------------------------------------------------------------------------------------------------------

const position = byId("position");
if (position) {
  const frames = [...document.querySelectorAll(".frame")];
  const last = Number(position.max);
  const button = byId("play");
  const seconds = 3;
  let playing = null;
  const show = () => {
    const share = `${100 * Number(position.value) / last}%`;
    for (const frame of frames) frame.style.backgroundPositionX = share;
  };
  const stop = () => {
    cancelAnimationFrame(playing);
    playing = null;
    button.textContent = "Play";
    button.setAttribute("aria-pressed", "false");
  };
  const play = () => {
    const start = performance.now() - seconds * 1000 * Number(position.value) / last;
    const frame = (now) => {
      const turn = ((now - start) / (seconds * 1000)) % 2;
      position.value = Math.round(last * (turn < 1 ? turn : 2 - turn)); // forward along the paths, and back
      show();
      playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
    button.textContent = "Stop";
    button.setAttribute("aria-pressed", "true");
  };
  button.addEventListener("click", () => (playing === null ? play() : stop()));
  position.addEventListener("input", () => {
    if (playing !== null) stop();
    show();
  });
  button.disabled = position.disabled = false;
}

// ---- curves -------------------------------------------------------------------------------------------------------

if (byId("curves-data")) {
  const curves = dataOf("curves-data");
  const palette = ["#0b7fd0", "#d9730d", "#2f9e44", "#c2255c", "#7950f2", "#0c8599", "#a67c00", "#868e96"];
  const plots = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const shown = (value) => (value == null ? "–" : Number(value.toPrecision(4)).toString());
  const steps = (value) => (value == null ? "–" : value.toLocaleString("en"));

  const draw = (figure) => {
    const { lines, data } = curves[Number(figure.dataset.curve)];
    const few = data[0].length <= 40;
    const axis = { stroke: () => colour("--soft"), grid: { stroke: () => colour("--line") }, ticks: { stroke: () => colour("--line") } };
    const options = {
      width: figure.clientWidth || 440,
      height: 240,
      scales: { x: { time: false } },
      axes: [
        { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6], values: (_, ticks) => ticks.map(steps) },
        { ...axis, size: 60, values: (_, ticks) => ticks.map(shown) },
      ],
      series: [
        { label: "step", value: (_, value) => steps(value) },
        ...lines.map((line, i) => ({
          label: line.label,
          stroke: palette[i % palette.length],
          width: 1.5,
          dash: line.beside ? [6, 4] : undefined,
          spanGaps: true,
          points: { show: few && !line.beside, size: 5 },
          value: (_, value) => shown(value),
        })),
      ],
    };
    figure.setAttribute("aria-label", `${figure.textContent.trim()}: ${lines.map((line) => line.label).join(", ")}`);
    plots.push([figure, new uPlot(options, data, figure)]);
  };

  const waiting = (figure) => figure.closest("details:not([open])");
  const figures = [...document.querySelectorAll(".plot")];
  figures.filter((figure) => !waiting(figure)).forEach(draw);
  byId("terms")?.addEventListener("toggle", () => {
    const drawn = new Set(plots.map(([figure]) => figure));
    figures.filter((figure) => !drawn.has(figure) && !waiting(figure)).forEach(draw);
  });
  const resize = () => plots.forEach(([figure, plot]) => plot.setSize({ width: figure.clientWidth, height: 240 }));
  window.addEventListener("resize", resize);
  window.addEventListener("beforeprint", resize);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(([, plot]) => plot.redraw()));
}
