// The sections of the page but for the browser, each from its part of the content; null where there is nothing to show.

const ACCURACY = {label: 'accuracy, %', text: (value) => percent(value).replace(/\.0$/, '')};
const CURVES_OF_POOL = {majority: 'majority vote', pass: 'pass@n', random: 'random choice', random_text: 'random score per text'};

function methodName(method) {
  const found = /^(.+)_(min|prod|mean|last|sum_logits)$/.exec(method);
  if (!found) return CURVES_OF_POOL[method] ?? method;
  return `${found[1] === 'bon' ? 'best-of-n' : found[1].replaceAll('_', ' ')}, ${found[2].replace('_', ' of ')}`;
}

const curvePoints = (curve, mean = 'mean') => curve.n.map((n, place) => ({x: n, y: curve[mean][place], low: curve.low[place], high: curve.high[place]}));
const lastOf = (curve) => interval(curve?.mean.at(-1), curve?.low.at(-1), curve?.high.at(-1));

function section(id, title, ...children) {
  return el('section', {id, 'aria-labelledby': `${id}-title`}, el('h2', {id: `${id}-title`}, title), ...children);
}

// A heading for one of several pools; one alone needs none.
const heading = (all, each) => all.length > 1 && el('h3', {}, each.name);

const prose = (...children) => el('p', {class: 'prose'}, ...children);

// Summary ----------------------------------------------------------------------------------------------------------

function summarySection({pools, steps}) {
  if (!pools.length && !steps.length) return null;
  return section('summary', 'Summary', pools.map(poolSummary), pools.length && prose(
    'Accuracies are in percent with 95% bootstrap intervals over problems. Whether one way beats another is to be read from the interval of their difference, in which the problems are the same.'),
    steps.length > 0 && !pools.length && prose('Only labelled steps were evaluated; see below.'));
}

function poolSummary(pool) {
  const n = pool.runs[0].methods.pass?.n.at(-1) ?? pool.size.smallest;
  const ways = [['majority', 'majority vote'], ['pass', `pass@${n}`], ['random', 'random choice']].filter(([method]) => method in pool.runs[0].methods);
  const compared = pool.differences.length > 0;
  const header = ['run', 'best-of-n', `at n = ${n}`, 'minus majority', 'p', ...(compared ? [`minus ${pool.runs[0].name}`, 'p'] : [])];
  const rows = pool.runs.map((run, place) => {
    const own = `bon_${run.aggregation}`;
    const against = difference(run.differences, own, 'majority');
    const first = compared && place > 0 ? lastDifference(pool.differences[place - 1]) : [null, null];
    return [nameOfRun(run, place), run.aggregation.replace('_', ' of '), lastOf(run.methods[own]), ...against, ...(compared ? first : [])];
  });
  return el('div', {class: 'block'},
    el('h3', {}, pool.name),
    prose(`${many(pool.size.problems, 'problem')}, ${many(pool.size.candidates, 'candidate')}, ${count(pool.size.distinct_texts)} of them distinct. Without scores: `,
      ways.map(([method, name], place) => [place ? ', ' : '', `${name} `, el('b', {}, lastOf(pool.runs[0].methods[method]))]).flat(), '.'),
    table(`Best-of-n on ${pool.name}, accuracy in %`, header, rows, {numeric: (column) => column > 1}),
    modelDetails(pool));
}

function nameOfRun(run, place) {
  return el('span', {class: 'named'}, el('span', {class: `swatch s${place % 8}`}), run.name);
}

function difference(differences, method, baseline) {
  const found = differences.find((each) => each.method === method && each.baseline === baseline);
  return found ? lastDifference(found) : [null, null];
}

function lastDifference(found) {
  const [mean, low, high] = [found.mean, found.low, found.high].map((each) => each.at(-1));
  return [signedInterval(mean, low, high), pValue(found.p_value.at(-1))];
}

const pValue = (value) => (!isNumber(value) ? '–' : value < 0.001 ? '< 0.001' : value.toFixed(3));

function modelDetails(pool) {
  const rows = pool.runs.map((run, place) => [nameOfRun(run, place), run.model.path ?? run.model.class, el('code', {}, (run.model.sha256 ?? '–').slice(0, 12))]);
  return el('details', {}, el('summary', {}, 'Models and candidates'),
    table('Models', ['run', 'model', 'weights (SHA-256)'], rows, {numeric: () => false}),
    el('p', {class: 'note'}, `Candidates: ${pool.file}`));
}

// Best-of-n --------------------------------------------------------------------------------------------------------

function bestOfNSection({pools}) {
  if (!pools.length) return null;
  return section('best-of-n', 'Best-of-n', pools.map((pool) => el('div', {class: 'block'},
    heading(pools, pool), bestOfNFigure(pool), groupTables(pool))));
}

function bestOfNFigure(pool) {
  const scored = [...new Set(pool.runs.flatMap((run) => Object.keys(run.methods)))].filter((method) => !(method in CURVES_OF_POOL));
  const holder = el('div');
  const options = [
    {label: 'Runs side by side', options: [{value: 'own', text: 'best-of-n, as each run aggregates'}, ...scored.map((method) => ({value: method, text: methodName(method)}))]},
    {label: 'Every way of one run', options: pool.runs.map((run, place) => ({value: `run ${place}`, text: run.name}))},
  ];
  const controls = choice('Show', options, (chosen) => show(chosen));
  const show = (chosen) => {
    const lines = chosen.startsWith('run ')
      ? scored.map((method, place) => [methodName(method), pool.runs[Number(chosen.slice(4))].methods[method], place])
      : pool.runs.map((run, place) => [run.name, run.methods[chosen === 'own' ? `bon_${run.aggregation}` : chosen], place]);
    const series = lines.filter(([, curve]) => curve).map(([name, curve, colour]) => ({name, colour, points: curvePoints(curve)}));
    const dashed = Object.keys(CURVES_OF_POOL).filter((method) => method in pool.runs[0].methods)
      .map((method, place) => ({name: CURVES_OF_POOL[method], dashed: true, dash: place, colour: 7 - place, points: curvePoints(pool.runs[0].methods[method]).map(({x, y}) => ({x, y}))}));
    const all = [...series, ...dashed];
    holder.replaceChildren(lineChart(`Accuracy of the answer chosen among n candidates, ${pool.name}`,
      'Lines: chosen by the scores, with 95% intervals. Dashes: what the pool reaches without scores, and with perfect ones (pass@n).',
      all, {x: 'log2', xLabel: 'candidates n', y: ACCURACY, numbers: curveTable(`Accuracy in %, ${pool.name}`, all)}));
  };
  show('own');
  return el('div', {}, el('div', {class: 'controls'}, controls), holder);
}

function curveTable(caption, series, text = (point) => interval(point?.y, point?.low, point?.high)) {
  const all = series[0]?.points.map(({x}) => x) ?? [];
  const content = (ns) => [['', ...ns.map((n) => `n = ${n}`)], series.map((each) => [each.name, ...ns.map((n) => {
    const point = each.points.find(({x}) => x === n);
    return isNumber(point?.low) ? text(point) : percent(point?.y);
  })])];
  return table(caption, ...content(fewPlaces(all).map((place) => all[place])), {whole: () => content(all)});
}

function groupTables(pool) {
  return Object.entries(pool.runs[0].groups).map(([kind, groups]) => {
    const rows = Object.entries(groups).map(([group, of]) => [group, count(of.problems),
      ...pool.runs.map((run) => lastOf(run.groups[kind]?.[group]?.methods[`bon_${run.aggregation}`])), lastOf(of.methods.majority), lastOf(of.methods.pass)]);
    return el('details', {}, el('summary', {}, `By ${kind}`),
      table(`Accuracy in % at the largest n by ${kind}, ${pool.name}`, [kind, 'problems', ...pool.runs.map((run) => run.name), 'majority vote', 'pass@n'], rows));
  });
}

// Ablation ---------------------------------------------------------------------------------------------------------

const etaOrder = (eta) => ({inf: Infinity, '-inf': -Infinity}[eta] ?? eta ?? NaN);

function ablationSection({ablations}) {
  if (!ablations.length) return null;
  return section('ablation', 'Eta', ablations.map((curves) => {
    const order = [...new Map(curves.map((curve) => [curve.name, etaOrder(curve.eta)]))]
      .sort(([, a], [, b]) => (Number.isNaN(a) ? 1 : Number.isNaN(b) ? -1 : a === b ? 0 : a - b)).map(([name]) => name);
    const ns = [...new Set(curves.flatMap((curve) => curve.n))].sort((a, b) => a - b);
    const holder = el('div');
    const show = (n) => {
      const series = [...new Set(curves.map((curve) => curve.aggregation))].map((aggregation) => ({
        name: aggregation,
        points: curves.filter((curve) => curve.aggregation === aggregation && curve.n.includes(n)).map((curve) => {
          const place = curve.n.indexOf(n);
          return {x: order.indexOf(curve.name), apart: curve.eta == null, y: curve.accuracy[place], low: curve.low[place], high: curve.high[place]};
        }).sort((a, b) => a.x - b.x),
      }));
      const rows = series.flatMap((each) => each.points.map((point) => [order[point.x], each.name, interval(point.y, point.low, point.high)]));
      holder.replaceChildren(lineChart(`Best-of-${n} by the eta of the labels`,
        'A line for each aggregation of step scores, with 95% intervals. Labels without an eta stand apart.', series,
        {x: order.map((name) => name.replace(/^eta /, '')), xLabel: 'eta', y: ACCURACY, numbers: table(`Best-of-${n}, accuracy in %`, ['labels', 'aggregation', 'accuracy'], rows, {numeric: (column) => column > 1})}));
    };
    show(ns.at(-1));
    const options = ns.slice().reverse().map((n) => ({value: n, text: String(n)}));
    return el('div', {class: 'block'}, el('div', {class: 'controls'}, choice('n', options, (n) => show(Number(n)))), holder);
  }));
}

// Vote of the optimal policy ---------------------------------------------------------------------------------------

function voteSection({pools}) {
  const shown = pools.filter((pool) => pool.runs.some((run) => run.vote));
  if (!shown.length) return null;
  return section('vote', 'Vote',
    prose('The vote between majority and best-of-n: candidates vote for their answers with the weight exp(eta × score): eta 0 is majority vote, a very large eta is best-of-n.'),
    shown.map((pool) => {
      const runs = pool.runs.filter((run) => run.vote);
      const holder = el('div');
      const show = (place) => holder.replaceChildren(voteFigure(pool, runs[place]));
      show(0);
      const options = runs.map((run, place) => ({value: place, text: run.name}));
      return el('div', {class: 'block'}, heading(shown, pool),
        runs.length > 1 && el('div', {class: 'controls'}, choice('Run', options, (place) => show(Number(place)))), holder);
    }));
}

function voteFigure(pool, {name, vote}) {
  const {curves, eta} = vote;
  const etas = curves.map((curve) => `${isNumber(curve.eta) ? short(curve.eta) : curve.eta}${curve.eta === eta ? ' *' : ''}`);
  const series = fewPlaces(curves[0].n).map((place) => ({
    name: `n = ${curves[0].n[place]}`,
    points: curves.map((curve, x) => ({x, y: curve.mean[place], low: curve.low[place], high: curve.high[place]})),
  }));
  const rows = curves.map((curve, x) => [etas[x], ...series.map(({points}) => interval(points[x].y, points[x].low, points[x].high)), ...lastDifference(curve.minus_bon)]);
  return lineChart(`Accuracy of the vote by its eta, ${pool.name}, ${name}`,
    'A line for each number of candidates, with 95% intervals. * marks the eta that the run reports.', series,
    {x: etas, xLabel: 'eta', y: ACCURACY, numbers: table(`The vote, accuracy in %, ${name}`, ['eta', ...series.map((each) => each.name), 'minus best-of-n at the largest n', 'p'], rows)});
}

// Reward hacking ---------------------------------------------------------------------------------------------------

function hackingSection({pools}) {
  const shown = pools.filter((pool) => pool.runs.some((run) => run.hacking));
  if (!shown.length) return null;
  return section('hacking', 'Score and accuracy',
    prose('Does the score still mean accuracy? As n grows, the score of the chosen candidate can only rise. Where accuracy stops rising with it, the search finds what the scorer favours rather than what is right.'),
    shown.map((pool) => {
      const runs = pool.runs.map((run, colour) => ({...run, colour})).filter((run) => run.hacking);
      const series = runs.flatMap(({name, hacking, colour}) => [
        {name: `${name}: accuracy`, colour, points: curvePoints(hacking.accuracy)},
        {name: `${name}: score`, colour, dashed: true, dash: 0, points: curvePoints(hacking.score).map(({x, y}) => ({x, y}))}]);
      const isShare = series.every((each) => each.points.every(({y}) => !isNumber(y) || (y >= 0 && y <= 1)));
      return el('div', {class: 'block'}, heading(shown, pool),
        isShare
          ? lineChart(`Accuracy and mean score of the chosen candidate, ${pool.name}`, 'Lines: accuracy with 95% intervals. Dashes: mean score, on the same scale of 0 to 100%.', series,
            {x: 'log2', xLabel: 'candidates n', y: {...ACCURACY, label: 'accuracy and score, %'}, numbers: curveTable('Accuracy and score in %', series)})
          : lineChart(`Accuracy of the chosen candidate, ${pool.name}`, 'With 95% intervals. The scores are no shares, so they stand in the table alone.', series.filter((each) => !each.dashed),
            {x: 'log2', xLabel: 'candidates n', y: ACCURACY, numbers: [curveTable('Accuracy in %', series.filter((each) => !each.dashed)), scoreTable(runs)]}),
        hackingTable(pool, runs));
    }));
}

function scoreTable(runs) {
  const places = fewPlaces(runs[0].hacking.score.n);
  return table('Mean score', ['', ...places.map((place) => `n = ${runs[0].hacking.score.n[place]}`)],
    runs.map(({name, hacking}) => [name, ...places.map((place) => short(hacking.score.mean[place]))]));
}

function hackingTable(pool, runs) {
  const features = Object.keys(runs[0].hacking.features ?? {});
  const correlation = (of) => estimate(decimals, 1)(of?.mean, of?.low, of?.high);
  return el('div', {},
    table(`Where accuracy peaks, ${pool.name}`, ['run', 'best n', 'lost at the largest n, %', 'outscored, %'],
      runs.map((run) => [nameOfRun(run, run.colour), run.hacking.peak, interval(run.hacking.fall?.mean, run.hacking.fall?.low, run.hacking.fall?.high), lastOf(run.hacking.outscored)])),
    el('p', {class: 'note'}, 'Outscored: of the chosen candidates that are wrong, the share for which a right one was among the n but scored no higher. Those are mistakes of the scorer.'),
    features.length > 0 && table('What the score goes with among the wrong candidates of a problem (rank correlation)', ['run', ...features.map((feature) => feature.replace('_', ' '))],
      runs.map((run) => [nameOfRun(run, run.colour), ...features.map((feature) => correlation(run.hacking.features[feature]?.wrong))])));
}

// Step labels ------------------------------------------------------------------------------------------------------

function stepsSection({steps}) {
  if (!steps.length) return null;
  return section('steps', 'Step labels', steps.map((data) => {
    const of = (estimate) => interval(estimate?.mean, estimate?.low, estimate?.high);
    const rows = data.runs.map((run, place) => [nameOfRun(run, place), of(run.processbench.f1), of(run.processbench.wrong), of(run.processbench.right), of(run.first_error_accuracy),
      percent(run.step_accuracy?.all_steps), decimals(run.auroc_within_problems), decimals(run.calibration_error, 3), `${short(run.threshold)}${run.chosen_on === 'given' ? '' : ' *'}`]);
    const chosen = [...new Set(data.runs.filter((run) => run.chosen_on !== 'given').map((run) => `${run.name}: ${run.chosen_on}`))];
    const calibrated = data.runs.map((run, colour) => ({...run, colour})).filter((run) => run.calibration);
    return el('div', {class: 'block'}, el('h3', {}, data.name),
      prose(`${many(data.runs[0].solutions, 'solution')}, ${count(data.runs[0].solutions_with_error)} with a wrong step; ${many(data.runs[0].labelled_steps, 'labelled step')}.`),
      table(`Is the wrong step found? ${data.name}`, ['run', 'ProcessBench F1', 'wrong solutions', 'right solutions', 'first error', 'steps', 'AUROC', 'ECE', 'threshold'], rows),
      chosen.length > 0 && el('p', {class: 'note'}, `* chosen on ${chosen.join('; ')}.`),
      el('div', {class: 'pair'}, calibrated.length > 0 && calibrationFigure(data, calibrated), sweepFigure(data)));
  }));
}

function calibrationFigure(data, runs) {
  const series = runs.map(({name, colour, calibration}) => ({name, colour,
    points: calibration.mean_score.map((x, bin) => ({x, y: calibration.mean_label[bin]})).filter(({x, y}) => isNumber(x) && isNumber(y))}));
  const rows = runs.flatMap(({name, calibration}) => calibration.steps.map((steps, bin) => [name, count(steps), decimals(calibration.mean_score[bin]), decimals(calibration.mean_label[bin])]))
    .filter((row) => row[1] !== '0');
  return lineChart(`Calibration, ${data.name}`, 'A point for each of 15 bins of scores. On the diagonal a score is the share of right steps.',
    [...series, {name: 'score = share right', dashed: true, colour: 7, points: [{x: 0, y: 0}, {x: 1, y: 1}]}],
    {x: 'linear', xLabel: 'mean score', y: {label: 'right steps, %', low: 0, high: 1, text: ACCURACY.text}, numbers: table('Calibration', ['run', 'steps', 'mean score', 'mean label'], rows)});
}

function sweepFigure(data) {
  const series = data.runs.map(({name, sweep}, colour) => ({name, colour, points: sweep.threshold.map((x, place) => ({x, y: sweep.f1[place]}))}));
  const rows = data.runs.flatMap(({name, sweep}) => sweep.threshold.map((threshold, place) => [name, short(threshold), percent(sweep.wrong[place]), percent(sweep.right[place]), percent(sweep.f1[place])]))
    .filter((_, place) => place % 5 === 0);
  return lineChart(`F1 at other thresholds, ${data.name}`, 'The first step with a score below the threshold is called wrong.',
    series.map((each) => ({...each, unmarked: true})), {x: 'linear', xLabel: 'threshold', y: {label: 'ProcessBench F1, %', low: 0, text: ACCURACY.text}, numbers: table('Thresholds, every fifth', ['run', 'threshold', 'wrong, %', 'right, %', 'F1, %'], rows)});
}

// Labels and costs -------------------------------------------------------------------------------------------------

function labelsSection({labels}) {
  if (!labels.length) return null;
  return section('labels', 'Labels', labels.map(({name, bins, series}) => {
    const rows = bins.map((bin, place) => [bin, ...series.map((each) => count(each.counts[place]))]);
    return el('div', {class: 'block'}, heading(labels, {name}), barChart(`Step labels of ${name}`, 'Share of steps with a label in each bin, for each eta.', bins, series,
      {xLabel: 'label of a step', numbers: table(`Steps, ${name}`, ['label', ...series.map((each) => each.name)], rows)}));
  }));
}

function costsSection({costs}) {
  if (!costs.length) return null;
  const known = (values) => (values ?? []).filter(isNumber);
  const mean = (values) => known(values).reduce((sum, each) => sum + each, 0) / known(values).length;
  const withBar = (value, most, text) => (Number.isNaN(value) ? null : el('span', {class: 'measured'}, meter(value / most), text));
  const stages = [...new Set(costs.map(({stage}) => stage))];
  return section('costs', 'Costs', stages.map((stage) => {
    const of = costs.filter((cost) => cost.stage === stage);
    const seconds = of.map((cost) => mean(cost.seconds));
    const gigabytes = of.map((cost) => mean(cost.peak_bytes) / 1e9);
    const most = (values) => Math.max(...values.filter((value) => !Number.isNaN(value)));
    const rows = of.map((cost, place) => [cost.name, withBar(seconds[place], most(seconds), `${seconds[place].toFixed(1)}${range(known(cost.seconds))}`),
      withBar(gigabytes[place], most(gigabytes), gigabytes[place].toFixed(2)), known(cost.seconds).length]);
    return el('div', {class: 'block'}, table(`Cost of ${stage}: means over seeds`, ['', 'seconds', 'peak memory, GB', 'seeds'], rows));
  }));
}

const range = (values) => (values.length > 1 ? ` (${Math.min(...values).toFixed(1)} to ${Math.max(...values).toFixed(1)})` : '');

function meter(share) {
  const bar = el('span', {class: 'meter', 'aria-hidden': 'true'}, el('span'));
  bar.firstChild.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
  return bar;
}
