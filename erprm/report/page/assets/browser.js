// The solution browser: problems, the candidates of one, and the steps of one of these.
// Numbers stand for things: a problem is its place among the problems, a solution its place among all solutions.

const PROBLEM_FILTERS = {
  all: ['all problems', () => true],
  wrong: ['selected but wrong', (view, problem) => !view.selectedIsRight(problem)],
  outscored: ['selected but wrong, a right one was there', (view, problem) => !view.selectedIsRight(problem) && view.data.problems[problem].right > 0],
  right: ['selected and right', (view, problem) => view.selectedIsRight(problem)],
  disagree: ['runs disagree', (view, problem) => new Set(view.data.runs.map((_, run) => view.selectedIsRight(problem, run))).size > 1],
};
const PROBLEM_ORDERS = {
  pool: ['pool order', () => 0],
  high: ['highest score selected', (view, problem) => -view.score(view.selected[view.run][problem])],
  low: ['lowest score selected', (view, problem) => view.score(view.selected[view.run][problem])],
  miss: ['widest miss', (view, problem) => -view.miss(problem)],
  few: ['fewest right candidates', (view, problem) => view.data.problems[problem].right / view.data.problems[problem].candidates],
};
const SOLUTION_FILTERS = {all: ['all', () => true], right: ['right', (data, each) => data.correct[each]], wrong: ['wrong', (data, each) => !data.correct[each]]};
const SOLUTION_ORDERS = {
  rank: ['rank', (view, each) => view.data.runs[view.run].ranks[each]],
  pool: ['pool order', (view, each) => view.data.candidates[each]],
  copies: ['most copies', (view, each) => -view.data.copies[each]],
  steps: ['fewest steps', (view, each) => view.data.steps[each].length],
};

// What is looked at: a pool, a run whose ranks count, and which problems and solutions are listed in which order.
class View {
  constructor(pool) {
    this.pool = pool;
    this.data = pool.browser;
    this.run = 0;
    this.query = '';
    this.problemFilter = 'all';
    this.problemOrder = 'pool';
    this.solutionFilter = 'all';
    this.solutionOrder = 'rank';
    this.selected = this.data.runs.map(({ranks}) => this.data.problems.map(({first, count: solutions}) => {
      let best = first;
      for (let each = first; each < first + solutions; each += 1) if (ranks[each] < ranks[best]) best = each;
      return best;
    }));
    [this.low, this.high] = this.range();
    this.texts = null;
  }

  range() {
    let [low, high] = [0, 1];
    for (const {step_scores: scores} of this.data.runs) for (const of of scores) for (const score of of) {
      if (score < low) low = score;
      if (score > high) high = score;
    }
    return [low, high];
  }

  // A score as a share of the range, for colours and bars.
  share(score) {
    return isNumber(score) ? (score - this.low) / (this.high - this.low) : 0;
  }

  // How scores of a problem are written: shares with as many decimals each, other scores with as many digits, and with
  // so many that ranks can be told apart by them.
  writtenFor(problem) {
    const ofRuns = this.data.runs.map(({scores}) => [...new Set(this.solutionsOf(problem).map((each) => scores[each]).filter(isNumber))]);
    const digits = [3, 4, 5, 6, 7, 8, 9];
    const inDecimals = this.low === 0 && this.high === 1 ? digits.slice(0, 4) : [];
    const ways = [...inDecimals.map((each) => (score) => decimals(score, each)), ...digits.map((each) => (score) => short(score, each))];
    return ways.find((way) => ofRuns.every((scores) => new Set(scores.map(way)).size === scores.length)) ?? ways.at(-1);
  }

  score(solution, run = this.run) {
    return this.data.runs[run].scores[solution] ?? -Infinity;
  }

  selectedIsRight(problem, run = this.run) {
    return this.data.correct[this.selected[run][problem]];
  }

  solutionsOf(problem) {
    const {first, count: solutions} = this.data.problems[problem];
    return Array.from({length: solutions}, (_, place) => first + place);
  }

  // By how much the selected wrong candidate outscores the best right one.
  miss(problem) {
    const right = this.solutionsOf(problem).filter((each) => this.data.correct[each]);
    if (this.selectedIsRight(problem) || !right.length) return -Infinity;
    return this.score(this.selected[this.run][problem]) - Math.max(...right.map((each) => this.score(each)));
  }

  // The text of each solution and of each problem, to search in.
  searched() {
    this.texts ??= {
      solutions: this.data.steps.map((steps, each) => `${this.data.texts[each] ?? steps.join('\n')}\n${this.data.answers[each] ?? ''}`.toLowerCase()),
      problems: this.data.problems.map((problem) => [problem.problem_id, problem.question, problem.gold, problem.level, problem.subject].join('\n').toLowerCase()),
    };
    return this.texts;
  }

  matches(problem) {
    if (!this.query) return true;
    const {problems, solutions} = this.searched();
    return problems[problem].includes(this.query) || this.solutionsOf(problem).some((each) => solutions[each].includes(this.query));
  }

  problems() {
    const shown = this.data.problems.map((_, problem) => problem).filter((problem) => PROBLEM_FILTERS[this.problemFilter][1](this, problem) && this.matches(problem));
    return ordered(shown, (problem) => PROBLEM_ORDERS[this.problemOrder][1](this, problem));
  }

  // If the question does not hold what is searched for, only the solutions that do.
  solutions(problem) {
    let shown = this.solutionsOf(problem).filter((each) => SOLUTION_FILTERS[this.solutionFilter][1](this.data, each));
    if (this.query && !this.searched().problems[problem].includes(this.query)) {
      shown = shown.filter((each) => this.searched().solutions[each].includes(this.query));
    }
    return ordered(shown, (each) => SOLUTION_ORDERS[this.solutionOrder][1](this, each));
  }
}

// Sorted by a key that is computed once for each; equal ones stay in order.
function ordered(places, key) {
  const keys = new Map(places.map((place) => [place, key(place)]));
  const [a, b] = [(x) => keys.get(x), (x, y) => (x < y ? -1 : x > y ? 1 : 0)];
  return places.slice().sort((one, other) => b(a(one), a(other)));
}

let browser = null;

function browserSection({pools}) {
  const browsable = pools.filter((pool) => pool.browser);
  const missing = pools.flatMap((pool) => pool.missing);
  if (!browsable.length && !missing.length) return null;
  const notes = missing.map((path) => el('p', {class: 'note'}, `${path} was not there, so the solutions of its pool are left out.`));
  return section('solutions', 'Solutions', notes, browsable.length > 0 && (browser = new Browser(browsable)).element);
}

// Goes to the problem and the candidate that the address of the page names.
function openLink() {
  const named = new URLSearchParams(location.hash.slice(1));
  if (!browser || !named.has('problem')) return;
  browser.follow(named);
  browser.element.parentElement.scrollIntoView();
}

class Browser {
  constructor(pools) {
    this.views = pools.map((pool) => new View(pool));
    this.view = this.views[0];
    this.formulas = true;
    this.problemList = new WindowedList('Problems', 'problems', 3.5, (index) => this.problemRow(this.shownProblems[index]), () => this.showProblem());
    this.solutionList = new WindowedList('Candidates of the problem, ranked', 'candidates', 3.1, (index) => this.solutionRow(this.shownSolutions[index]), () => this.showSolution());
    this.status = el('p', {class: 'note', role: 'status'});
    this.question = el('div', {class: 'question'});
    this.solution = el('article', {class: 'solution', tabindex: '0', 'aria-label': 'The chosen candidate, step by step'});
    this.toolbar = el('div', {class: 'controls'});
    this.solutionControls = el('div', {class: 'controls'});
    this.keys = keyHelp();
    this.element = el('div', {class: 'browser', onkeydown: (event) => this.pressed(event)},
      this.toolbar, this.status,
      el('div', {class: 'panes'},
        el('div', {class: 'pane'}, el('h3', {}, 'Problems'), this.problemList.element),
        el('div', {class: 'pane'}, el('h3', {}, 'Candidates'), this.solutionControls, this.solutionList.element),
        el('div', {class: 'pane wide'}, el('h3', {}, 'Solution'), this.question, this.solution)),
      this.keys);
    document.addEventListener('keydown', (event) => {
      if (event.target === document.body) this.pressed(event);
    });
    this.showPool();
  }

  showPool() {
    const {view} = this;
    const runs = view.pool.runs.map((run, value) => ({value, text: run.name}));
    const filters = Object.entries(PROBLEM_FILTERS).filter(([value]) => value !== 'disagree' || runs.length > 1);
    this.filter = choice('Show', filters.map(([value, [text]]) => ({value, text})), (value) => this.change({problemFilter: value}));
    this.search = el('input', {type: 'search', placeholder: 'question, step, answer', oninput: () => this.searchSoon()});
    this.toolbar.replaceChildren(...[
      this.views.length > 1 && choice('Pool', this.views.map(({pool}, value) => ({value, text: pool.name})), (value) => {
        this.view = this.views[Number(value)];
        this.showPool();
        this.toolbar.querySelector('select').value = value;
      }),
      runs.length > 1 && choice('Ranked by', runs, (value) => this.change({run: Number(value)})),
      this.filter,
      choice('Sort', Object.entries(PROBLEM_ORDERS).map(([value, [text]]) => ({value, text})), (value) => this.change({problemOrder: value})),
      el('label', {class: 'control grows'}, el('span', {}, 'Search'), this.search),
      el('label', {class: 'control check'}, this.formulaBox = el('input', {type: 'checkbox', checked: this.formulas, onchange: () => this.setFormulas(this.formulaBox.checked)}), el('span', {}, 'Formulas')),
      csvButton(`Candidates of ${view.pool.name}`, () => this.scoreTable()),
    ].filter(Boolean));
    this.solutionControls.replaceChildren(
      choice('Show', Object.entries(SOLUTION_FILTERS).map(([value, [text]]) => ({value, text})), (value) => this.changeSolutions({solutionFilter: value})),
      choice('Sort', Object.entries(SOLUTION_ORDERS).map(([value, [text]]) => ({value, text})), (value) => this.changeSolutions({solutionOrder: value})));
    this.change({run: 0, query: '', problemFilter: 'all', problemOrder: 'pool', solutionFilter: 'all', solutionOrder: 'rank'});
  }

  change(settings) {
    const problem = this.shownProblems?.[this.problemList.chosen];
    Object.assign(this.view, settings);
    this.shownProblems = this.view.problems();
    this.problemList.show(this.shownProblems.length, Math.max(0, this.shownProblems.indexOf(problem)));
    this.status.textContent = `${this.lost ?? ''}${this.counts()}`;
    this.showProblem();
  }

  // An address that leads to a problem, or to one of its candidates.
  link(problem, solution) {
    const named = {pool: this.view.pool.name, problem: this.view.data.problems[problem].problem_id};
    if (solution !== undefined) named.candidate = this.view.data.candidates[solution];
    return el('a', {class: 'link', href: `#${new URLSearchParams(named)}`, title: 'Copy this address to come back here'}, solution === undefined ? 'link to the problem' : 'link to the candidate');
  }

  // Goes where an address leads; without the filters that would hide it.
  follow(named) {
    const place = this.views.findIndex(({pool}) => pool.name === named.get('pool'));
    const problem = place < 0 ? -1 : this.views[place].data.problems.findIndex((each) => each.problem_id === named.get('problem'));
    this.lost = problem < 0 ? 'What the address names is not on this page. ' : '';
    if (place >= 0) this.view = this.views[place];
    this.showPool();
    this.lost = '';
    if (this.views.length > 1) this.toolbar.querySelector('select').value = this.views.indexOf(this.view);
    if (problem < 0) return;
    this.problemList.choose(problem);
    this.solutionList.choose(this.shownSolutions.findIndex((each) => String(this.view.data.candidates[each]) === named.get('candidate')));
  }

  // The candidates that the filters leave, with their scores and ranks by every run.
  scoreTable() {
    const {data, pool} = this.view;
    const header = ['problem', 'candidate', 'copies', 'answer', 'right', ...pool.runs.flatMap(({name}) => [`${name} score`, `${name} rank`])];
    const rows = this.shownProblems.flatMap((problem) => this.view.solutions(problem).map((each) => [data.problems[problem].problem_id, data.candidates[each], data.copies[each],
      data.answers[each], data.correct[each] ? 1 : 0, ...data.runs.flatMap(({scores, ranks}) => [scores[each], ranks[each]])]));
    return [header, rows];
  }

  counts() {
    const {data} = this.view;
    const shown = `${count(this.shownProblems.length)} of ${many(data.problems.length, 'problem')} shown, ${many(data.steps.length, 'distinct solution')}.`;
    const cut = data.steps.length < data.solutions ? ` Of ${count(data.solutions)} solutions to ${count(data.all_problems)} problems, those ranked highest were kept, and the best right one of each problem; all accuracies are over all.` : '';
    return shown + cut;
  }

  changeSolutions(settings) {
    Object.assign(this.view, settings);
    this.showProblem();
  }

  searchSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.change({query: this.search.value.trim().toLowerCase()}), 120);
  }

  setFormulas(wanted) {
    this.formulas = wanted;
    this.formulaBox.checked = wanted;
    this.showProblem(this.solutionList.chosen);
  }

  text(text) {
    return this.formulas ? textWithFormulas(text) : [text];
  }

  answer(answer) {
    return this.formulas ? answerNode(answer) : el('span', {}, answer ?? 'none');
  }

  showProblem(solution = 0) {
    const problem = this.shownProblems[this.problemList.chosen];
    if (problem === undefined) {
      this.shownSolutions = [];
      this.question.replaceChildren(el('p', {class: 'muted'}, 'No problem is left; change the filter or the search.'));
    } else {
      const {problem_id: id, question, gold, level, subject} = this.view.data.problems[problem];
      this.shownSolutions = this.view.solutions(problem);
      this.written = this.view.writtenFor(problem);
      this.question.replaceChildren(
        el('p', {class: 'muted line'}, [id, /^\d/.test(level ?? '') ? `level ${level}` : level, subject].filter(Boolean).join(' · '), this.link(problem)),
        el('p', {class: 'text'}, this.text(question)),
        el('p', {}, 'Gold answer: ', el('b', {}, this.answer(gold))));
    }
    this.solutionList.show(this.shownSolutions.length, solution);
    this.showSolution();
  }

  showSolution() {
    const each = this.shownSolutions[this.solutionList.chosen];
    this.solution.replaceChildren(...(each === undefined ? [el('p', {class: 'muted'}, 'No candidate is left.')] : this.solutionParts(each)));
    highlight(this.view.query, [this.question, this.solution]);
  }

  problemRow(problem) {
    const {problem_id: id, question, right, candidates} = this.view.data.problems[problem];
    return [
      el('span', {class: 'line'}, verdict(this.view.selectedIsRight(problem), false), el('span', {class: 'id'}, id),
        el('span', {class: 'aside'}, `${right}/${candidates} right`)),
      el('span', {class: 'line muted'}, el('span', {class: 'cut'}, question.slice(0, 200)))];
  }

  solutionRow(each) {
    const {view} = this;
    const {data, run} = view;
    return [
      el('span', {class: 'line'}, el('span', {class: 'rank'}, `#${data.runs[run].ranks[each]}`), verdict(data.correct[each], false),
        el('span', {class: 'cut id'}, (data.answers[each] ?? '').length < 80 ? this.answer(data.answers[each]) : data.answers[each].slice(0, 80)),
        data.copies[each] > 1 && el('span', {class: 'muted'}, `×${data.copies[each]}`),
        el('span', {class: 'aside scores'}, data.runs.slice(0, 4).map((_, other) => el('span', {class: other === run && 'own'}, this.written(data.runs[other].scores[each]))))),
      this.strip(data.runs[run].step_scores[each])];
  }

  // The scores of the steps at a glance; the solution has them as numbers.
  strip(scores) {
    return el('span', {class: 'strip', 'aria-hidden': 'true'}, scores.slice(0, 40).map((score) => {
      const bar = el('span');
      bar.style.setProperty('--score', this.view.share(score));
      return bar;
    }));
  }

  solutionParts(each) {
    const {view} = this;
    const {data, pool, run} = view;
    const steps = data.steps[each];
    const rows = steps.map((step, place) => el('tr', {},
      el('th', {scope: 'row', class: 'number'}, String(place + 1)),
      data.runs.map(({step_scores: scores}, other) => el('td', {class: `number${other === run ? ' own' : ''}`, 'data-run': pool.runs.length > 1 && pool.runs[other].name}, this.written(scores[each][place]),
        other === run && scores[each].length > 1 && place === lowest(scores[each]) && el('span', {class: 'least'}, 'lowest'))),
      this.stepCell(step, data.runs[run].step_scores[each][place])));
    const facts = [
      `rank ${data.runs[run].ranks[each]}`,
      steps.length > 0 && !data.runs[run].step_scores[each].length && 'too long, not scored',
      data.copies[each] > 1 && `${data.copies[each]} copies, first: candidate ${data.candidates[each]}`,
      data.copies[each] === 1 && `candidate ${data.candidates[each]}`].filter(Boolean).join(' · ');
    return [
      el('p', {class: 'line facts'}, verdict(data.correct[each]), el('span', {}, 'answer ', el('b', {}, this.answer(data.answers[each]))), el('span', {class: 'muted'}, facts), this.link(this.shownProblems[this.problemList.chosen], each)),
      el('p', {class: 'line facts'}, pool.runs.map((of, other) => el('span', {}, `${of.name} (${of.aggregation.replace('_', ' of ')}) `, el('b', {}, this.written(data.runs[other].scores[each])), data.runs.length > 1 && el('span', {class: 'muted'}, ` rank ${data.runs[other].ranks[each]}`)))),
      steps.length
        ? el('table', {class: 'steps'}, el('caption', {class: 'unseen'}, 'Steps with their scores'),
          el('thead', {}, el('tr', {}, el('th', {scope: 'col', class: 'number'}, 'step'), pool.runs.map((of) => el('th', {scope: 'col', class: 'number'}, pool.runs.length > 1 ? of.name : 'score')), el('th', {scope: 'col'}, 'text'))),
          el('tbody', {}, rows))
        : el('pre', {class: 'text'}, `No steps were found in: ${data.texts[each]}`)];
  }

  stepCell(step, score) {
    // Longer than the model's context: there is no score to shade it by.
    if (score === undefined) return el('td', {class: 'text'}, this.text(step));
    const cell = el('td', {class: 'text shaded'}, this.text(step));
    cell.style.setProperty('--score', this.view.share(score));
    return cell;
  }

  pressed(event) {
    const typing = event.target.matches?.('input[type=search], select');
    if (typing && event.key === 'Escape') this.problemList.element.focus();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const moves = {
      j: () => this.solutionList.choose(this.solutionList.chosen + 1),
      k: () => this.solutionList.choose(this.solutionList.chosen - 1),
      n: () => this.problemList.choose(this.problemList.chosen + 1),
      p: () => this.problemList.choose(this.problemList.chosen - 1),
      ArrowRight: () => this.solutionList.element.focus(),
      ArrowLeft: () => this.problemList.element.focus(),
      w: () => this.toggleWrong(),
      m: () => this.setFormulas(!this.formulas),
      '/': () => this.search.focus(),
      '?': () => { this.keys.open = !this.keys.open; },
    };
    if (!Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    moves[event.key]();
  }

  toggleWrong() {
    const select = this.filter.querySelector('select');
    select.value = select.value === 'wrong' ? 'all' : 'wrong';
    this.change({problemFilter: select.value});
  }
}

function lowest(scores) {
  return scores.reduce((best, score, place) => (score < scores[best] ? place : best), 0);
}

function keyHelp() {
  const keys = [['j', 'next candidate'], ['k', 'candidate before'], ['n', 'next problem'], ['p', 'problem before'], ['↑ ↓', 'move in a list'], ['← →', 'from list to list'],
    ['Page Up, Page Down, Home, End', 'move further'], ['w', 'selected but wrong, or all'], ['/', 'search'], ['Esc', 'leave the search'], ['m', 'formulas or raw text'], ['?', 'these keys']];
  return el('details', {class: 'keys'}, el('summary', {}, 'Keyboard'),
    el('dl', {}, keys.map(([key, what]) => el('div', {}, el('dt', {}, el('kbd', {}, key)), el('dd', {}, what)))));
}

// Marks what was searched for, without touching the elements.
function highlight(query, elements) {
  if (!globalThis.Highlight) return;
  const ranges = [];
  for (const element of query ? elements : []) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.data.toLowerCase();
      for (let at = text.indexOf(query); at >= 0 && ranges.length < 1000; at = text.indexOf(query, at + query.length)) {
        const range = new Range();
        if (at + query.length > walker.currentNode.length) break; // lower case may be longer
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + query.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set('found', new Highlight(...ranges));
}
