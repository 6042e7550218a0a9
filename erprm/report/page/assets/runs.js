// What the runs are: how their models were trained, how two of them differ, and the curves of the trainings.

function runsSection({runs}) {
  if (!runs.length) return null;
  const period = ({began, ended}) => (began === ended ? began : `${began} – ${ended}`);
  const rows = runs.map((run) => [run.name, run.labels, run.eta, run.backbone, run.learning_rate, run.seed, period(run), run.tested]);
  return section('runs', 'Runs',
    table('How the model of each run was trained', ['run', 'labels', 'eta', 'backbone', 'learning rate', 'seed', 'trained (UTC)', 'evaluated (UTC)'], rows, {numeric: () => false}),
    el('p', {class: 'note'}, 'Times are those of the files. A dash: nothing in the folders given says so.'),
    differingSettings(runs.filter((run) => Object.keys(run.settings).length)));
}

function differingSettings(runs) {
  if (runs.length < 2) return null;
  const chosen = [0, 1];
  const holder = el('div');
  const show = () => {
    const [one, other] = chosen.map((place) => runs[place]);
    const names = [...new Set([...Object.keys(one.settings), ...Object.keys(other.settings)])];
    const rows = names.filter((name) => one.settings[name] !== other.settings[name]).map((name) => [name, one.settings[name], other.settings[name]]);
    holder.replaceChildren(rows.length
      ? table(`Settings that differ: ${rows.length} of ${names.length}`, ['setting', one.name, other.name], rows, {numeric: () => false, wraps: true})
      : el('p', {class: 'note'}, `All ${names.length} settings are the same.`));
  };
  const options = runs.map((run, value) => ({value, text: run.name}));
  const select = (label, place) => choice(label, options, (value) => { chosen[place] = Number(value); show(); }, chosen[place]);
  show();
  return el('div', {class: 'block'}, el('h3', {}, 'Settings of two runs'), el('div', {class: 'controls'}, select('Run', 0), select('beside', 1)), holder);
}

function trainingSection({trainings}) {
  if (!trainings.length) return null;
  const losses = trainings.flatMap(({name, logged}, colour) => [
    {name: trainings.length > 1 ? `${name}: training` : 'training', colour, points: logged['train/loss'], unmarked: true},
    {name: trainings.length > 1 ? `${name}: validation` : 'validation', colour, dash: 0, dashed: true, points: logged['val/loss']}]);
  const rates = trainings.flatMap(({name, logged}, colour) => Object.keys(logged).filter((key) => key.startsWith('lr-')).map((key, dash, all) => (
    {name: all.length > 1 ? `${name}: ${key.slice(3)}` : name, colour, dash, dashed: dash > 0, unmarked: true, points: logged[key]})));
  return section('training', 'Training',
    el('div', {class: 'pair'}, loggedFigure('Loss', 'loss', losses), loggedFigure('Learning rate', 'learning rate', rates)),
    validationFigures(trainings));
}

function loggedFigure(title, label, series) {
  const shown = series.filter((each) => each.points).map((each) => ({...each, points: each.points.map(([x, y]) => ({x, y}))}));
  if (!shown.length) return null;
  const rows = shown.flatMap(({name, points}) => points.map(({x, y}) => [name, x, y]));
  const few = shown.flatMap(({name, points}) => points.filter((_, place) => place % Math.ceil(points.length / 20) === 0 || place === points.length - 1).map(({x, y}) => [name, count(x), scientific(y)]));
  const header = ['run', 'step', label];
  return lineChart(title, 'Against the steps of the optimizer. Of many steps, each point is the mean of neighbours.', shown,
    {x: 'whole', xLabel: 'step', y: {label, text: scientific}, numbers: table(title, header, few, {whole: () => [header, rows]})});
}

// In few signs, however small it is, as rates of learning are.
const scientific = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? Number(value.toPrecision(3)).toExponential().replaceAll('-', '−') : short(value));

function validationFigures(trainings) {
  const pools = [...new Set(trainings.flatMap(({validations}) => Object.keys(validations)))];
  return pools.map((pool) => {
    const of = trainings.map(({name, validations}, colour) => ({name, colour, epochs: validations[pool] ?? []})).filter(({epochs}) => epochs.length);
    const ns = [...new Set(of.flatMap(({epochs}) => epochs.flatMap(({n}) => n)))].sort((a, b) => a - b);
    // With several validations in an epoch, steps tell them apart.
    const perEpoch = of.every(({epochs}) => new Set(epochs.map(({epoch}) => epoch)).size === epochs.length);
    const [time, at] = perEpoch ? ['epoch', ({epoch}) => epoch + 1] : ['step', ({step}) => step];
    const holder = el('div');
    const show = (n) => {
      const series = of.map(({name, colour, epochs}) => ({name, colour, points: epochs.filter((each) => each.n.includes(n)).map((each) => {
        const place = each.n.indexOf(n);
        return {x: at(each), y: each.mean[place], low: each.low[place], high: each.high[place]};
      })}));
      const rows = series.flatMap(({name, points}) => points.map(({x, y, low, high}) => [name, x, interval(y, low, high)]));
      holder.replaceChildren(lineChart(`Best-of-${n} in training, ${pool}`, `After each ${time} at which it was measured, with 95% intervals over problems.`, series,
        {x: 'whole', xLabel: time, y: ACCURACY, numbers: table(`Best-of-${n}, accuracy in %, ${pool}`, ['run', time, 'accuracy'], rows)}));
    };
    show(ns.at(-1));
    const options = ns.slice().reverse().map((n) => ({value: n, text: String(n)}));
    return el('div', {class: 'block'}, el('div', {class: 'controls'}, choice('n', options, (n) => show(Number(n)))), holder);
  });
}
