// Charts as inline SVG, each a figure with a legend and a table of its numbers.
// A series is {name, points: [{x, y, low, high}], dashed}; low and high may be missing, and no line leads
// to a point that is `apart`.

let figures = 0;

function figure(title, description, {legend, draw, numbers, controls}) {
  const id = `figure-${++figures}`;
  const plot = el('div', {class: 'plot'});
  const element = el('figure', {'aria-labelledby': `${id}-title`},
    el('figcaption', {id: `${id}-title`}, title),
    controls, legend, plot, el('p', {class: 'note'}, description),
    numbers && el('details', {}, el('summary', {}, 'Numbers'), numbers));
  const label = {id, title, description};
  let width = 0;
  new ResizeObserver(([{contentRect}]) => {
    const available = Math.round(contentRect.width);
    if (available && available !== width) {
      width = available;
      plot.replaceChildren(...draw(Math.max(260, width), label));
    }
  }).observe(plot);
  return element;
}

function frame(width, height, {id, title, description}) {
  return svg('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-labelledby': `${id}-svg-title ${id}-svg-desc`},
    svg('title', {id: `${id}-svg-title`}, title), svg('desc', {id: `${id}-svg-desc`}, description));
}

function legend(series) {
  return el('ul', {class: 'legend'}, series.map((each, number) => el('li', {},
    svg('svg', {width: 26, height: 12, 'aria-hidden': 'true', class: seriesClass(each, number)},
      each.bars ? svg('rect', {x: 6, y: 1, width: 10, height: 10, class: 'bar'})
        : [svg('line', {x1: 1, x2: 25, y1: 6, y2: 6, class: 'curve'}), !each.dashed && !each.unmarked && marker(number, 13, 6)]),
    el('span', {}, each.name))));
}

const seriesClass = (each, number) => `series s${(each.colour ?? number) % 8}${each.dashed ? ` dashed d${(each.dash ?? number) % 4}` : ''}`;

// A shape beside the colour tells series apart.
function marker(number, x, y) {
  const shapes = [
    () => svg('circle', {cx: x, cy: y, r: 3.2}),
    () => svg('rect', {x: x - 3, y: y - 3, width: 6, height: 6}),
    () => svg('path', {d: `M${x} ${y - 4}L${x + 4} ${y + 3}H${x - 4}Z`}),
    () => svg('path', {d: `M${x} ${y - 4.2}L${x + 4.2} ${y}L${x} ${y + 4.2}L${x - 4.2} ${y}Z`}),
  ];
  return filled(shapes[number % 4](), {class: 'marker'}, []);
}

// Round numbers from at most `low` to at least `high`.
function ticks(low, high, wanted = 5) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({length: last - first + 1}, (_, number) => Number(((first + number) * step).toPrecision(12)));
}

// From 0 to 1 for shares, such as scores.
const linearTicks = (xs) => (xs[0] >= 0 && xs.at(-1) <= 1 ? ticks(0, 1) : ticks(xs[0], xs.at(-1)));

// A chart of lines. x is 'log2' (numbers, such as n), 'linear' (shares), 'whole' (steps, epochs), or a list of names, of
// which points have the place as x. y has {label, text, low, high}; text writes a value.
function lineChart(title, description, series, {x, xLabel, y, controls, numbers}) {
  const drawn = series.filter((each) => each.points.length);
  const draw = (width, label) => drawLines(width, drawn, {x, xLabel, y}, label);
  return figure(title, description, {legend: legend(drawn), draw, controls, numbers});
}

function drawLines(width, series, {x, xLabel, y}, label) {
  const height = Math.round(Math.min(380, Math.max(240, width * 0.5)));
  const margin = {left: 62, right: 24, top: 12, bottom: 44};
  const points = series.flatMap((each) => each.points).filter((point) => isNumber(point.y));
  const values = points.flatMap(({y: value, low, high}) => [value, low, high].filter(isNumber));
  const yTicks = ticks(y.low ?? Math.min(...values), y.high ?? Math.max(...values));
  const scale = (value) => (x === 'log2' ? Math.log2(value) : value);
  const xs = [...new Set(points.map((point) => point.x))].sort((a, b) => a - b);
  const xTicks = Array.isArray(x) ? x.map((_, place) => place) : x === 'log2' ? fewPlaces(xs).map((place) => xs[place]) : x === 'whole' ? ticks(xs[0], xs.at(-1)) : linearTicks(xs);
  const [first, last] = Array.isArray(x) ? [-0.4, x.length - 0.6] : [scale(xTicks[0]), scale(xTicks.at(-1))];
  const nameOf = (value) => (Array.isArray(x) ? x[value] : Number.isInteger(value) ? count(value) : short(value));
  const atX = (value) => margin.left + ((scale(value) - first) / (last - first || 1)) * (width - margin.left - margin.right);
  const atY = (value) => margin.top + ((yTicks.at(-1) - value) / (yTicks.at(-1) - yTicks[0])) * (height - margin.top - margin.bottom);

  const axes = svg('g', {class: 'axes', 'aria-hidden': 'true'},
    yTicks.map((tick) => [
      svg('line', {x1: margin.left, x2: width - margin.right, y1: atY(tick), y2: atY(tick)}),
      svg('text', {x: margin.left - 8, y: atY(tick) + 4, 'text-anchor': 'end'}, y.text(tick))]).flat(),
    spread(xTicks.filter((tick) => x !== 'whole' || Number.isInteger(tick)), atX, nameOf).map((tick) => svg('text', {x: atX(tick), y: height - margin.bottom + 18, 'text-anchor': 'middle'}, nameOf(tick))),
    svg('text', {x: (margin.left + width - margin.right) / 2, y: height - 6, 'text-anchor': 'middle', class: 'axis'}, xLabel),
    svg('text', {transform: `translate(13 ${(margin.top + height - margin.bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle', class: 'axis'}, y.label));
  const bands = series.map((each, number) => svg('g', {class: seriesClass(each, number)}, band(each, atX, atY, Array.isArray(x))));
  const lines = series.map((each, number) => svg('g', {class: seriesClass(each, number)},
    svg('path', {class: 'curve', d: path(each.points, atX, atY)}),
    !each.dashed && !each.unmarked && markedPoints(each, x).map((point) => marker(number, atX(point.x), atY(point.y)))));
  const chart = frame(width, height, label);
  chart.append(axes, ...bands, ...lines);
  return [chart, pointerReadout(chart, series, {xs, atX, height, margin, width, y, name: (value) => (Array.isArray(x) ? nameOf(value) : `${xLabel.split(' ').at(-1)} = ${nameOf(value)}`)})];
}

// Ticks with room for their names, of which a sign is about 7 wide.
function spread(xTicks, atX, nameOf) {
  let end = -Infinity;
  return xTicks.filter((tick) => {
    const half = 3.5 * nameOf(tick).length;
    if (atX(tick) - half < end + 8) return false;
    end = atX(tick) + half;
    return true;
  });
}

function path(points, atX, atY) {
  let pen = 'M';
  return points.map(({x, y, apart}) => {
    if (!isNumber(y) || apart) pen = 'M';
    if (!isNumber(y)) return '';
    const part = `${pen}${atX(x).toFixed(1)} ${atY(y).toFixed(1)}`;
    pen = 'L';
    return part;
  }).join('');
}

function band({points}, atX, atY, asBars) {
  const known = points.filter(({low, high}) => isNumber(low) && isNumber(high));
  if (asBars) {
    return known.map(({x, low, high}) => svg('line', {class: 'whisker', x1: atX(x), x2: atX(x), y1: atY(low), y2: atY(high)}));
  }
  if (known.length < 2) return [];
  const there = known.map(({x, high}) => `${atX(x).toFixed(1)} ${atY(high).toFixed(1)}`);
  const back = known.map(({x, low}) => `${atX(x).toFixed(1)} ${atY(low).toFixed(1)}`).reverse();
  return [svg('path', {class: 'band', d: `M${[...there, ...back].join('L')}Z`})];
}

function markedPoints({points}, x) {
  const known = points.filter((point) => isNumber(point.y));
  return x === 'log2' ? fewPlaces(known.map((point) => point.x)).map((place) => known[place]) : known;
}

// The values under the pointer; the table has them for those without one.
function pointerReadout(chart, series, {xs, atX, height, margin, width, y, name}) {
  const rule = svg('line', {class: 'rule', y1: margin.top, y2: height - margin.bottom, visibility: 'hidden'});
  const readout = el('div', {class: 'readout', 'aria-hidden': 'true', hidden: true});
  chart.append(rule);
  chart.addEventListener('pointermove', (event) => {
    const box = chart.getBoundingClientRect();
    const pointer = ((event.clientX - box.left) / box.width) * width;
    const nearest = xs.reduce((best, each) => (Math.abs(atX(each) - pointer) < Math.abs(atX(best) - pointer) ? each : best), xs[0]);
    filled(rule, {x1: atX(nearest), x2: atX(nearest), visibility: 'visible'}, []);
    const values = series.map((each, number) => [each, number, each.points.find((point) => point.x === nearest)])
      .filter(([, , point]) => isNumber(point?.y)).sort((a, b) => b[2].y - a[2].y);
    readout.replaceChildren(el('strong', {}, name(nearest)), ...values.map(([each, number, point]) =>
      el('div', {}, el('span', {class: `swatch s${(each.colour ?? number) % 8}`}), `${each.name} `, el('b', {}, y.text(point.y)))));
    readout.hidden = false;
    const left = atX(nearest) / width > 0.55;
    readout.style.left = left ? 'auto' : `${(100 * atX(nearest)) / width + 1.5}%`;
    readout.style.right = left ? `${100 - (100 * atX(nearest)) / width + 1.5}%` : 'auto';
  });
  chart.addEventListener('pointerleave', () => {
    readout.hidden = true;
    rule.setAttribute('visibility', 'hidden');
  });
  return readout;
}

// A group of bars for each bin, a bar for each series. A series has {name, counts}; shown are shares of their sum.
function barChart(title, description, bins, series, {xLabel, numbers}) {
  const shares = series.map(({counts}) => {
    const all = counts.reduce((sum, each) => sum + each, 0) || 1;
    return counts.map((each) => each / all);
  });
  const draw = (width, label) => {
    const height = 260;
    const margin = {left: 52, right: 14, top: 12, bottom: 44};
    const yTicks = ticks(0, Math.max(...shares.flat()));
    const group = (width - margin.left - margin.right) / bins.length;
    const bar = Math.max(0.5, (group * 0.86) / series.length);
    const atY = (value) => margin.top + (1 - value / yTicks.at(-1)) * (height - margin.top - margin.bottom);
    const middle = (bin) => margin.left + (bin + 0.5) * group;
    const chart = frame(width, height, label);
    chart.append(svg('g', {class: 'axes', 'aria-hidden': 'true'},
      yTicks.flatMap((tick) => [
        svg('line', {x1: margin.left, x2: width - margin.right, y1: atY(tick), y2: atY(tick)}),
        svg('text', {x: margin.left - 8, y: atY(tick) + 4, 'text-anchor': 'end'}, percent(tick).replace('.0', ''))]),
      [0, Math.floor((bins.length - 1) / 2), bins.length - 1].map((bin, place) => svg('text',
        {x: [margin.left, middle(bin), width - margin.right][place], y: height - margin.bottom + 18, 'text-anchor': ['start', 'middle', 'end'][place]}, bins[bin])),
      svg('text', {x: (margin.left + width - margin.right) / 2, y: height - 6, 'text-anchor': 'middle', class: 'axis'}, xLabel),
      svg('text', {transform: `translate(13 ${height / 2 - 16}) rotate(-90)`, 'text-anchor': 'middle', class: 'axis'}, 'steps, %')));
    shares.forEach((of, number) => chart.append(svg('g', {class: seriesClass({}, number)}, of.map((share, bin) =>
      svg('rect', {class: 'bar', x: middle(bin) - (bar * series.length) / 2 + number * bar, width: bar, y: atY(share), height: atY(0) - atY(share)})))));
    return [chart];
  };
  return figure(title, description, {legend: legend(series.map((each) => ({...each, bars: true}))), draw, numbers});
}
