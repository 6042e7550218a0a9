// Elements of the page. Text goes in as text nodes alone, so whatever it holds is shown and never read as markup.

const SVG = 'http://www.w3.org/2000/svg';

// el('a', {href: '#x', class: 'y'}, 'text', otherElement); false and null children are left out.
function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

// A labelled choice; options are {value, text} or {label, options}.
function choice(label, options, onchange, chosen = options[0]?.value) {
  const option = (each) => (each.options ? el('optgroup', {label: each.label}, each.options.map(option)) : el('option', {value: each.value, selected: each.value === chosen}, each.text));
  const select = el('select', {onchange: () => onchange(select.value)}, options.map(option));
  return el('label', {class: 'control'}, el('span', {}, label), select);
}

// Rows of cells; numbers are right-aligned, and a cell may be an element. whole() gives the header and rows of the file
// if there are more than are shown.
function table(caption, header, rows, {numeric = (column) => column > 0, wraps = false, whole = () => [header, rows]} = {}) {
  const cell = (tag, content, column, more = {}) => el(tag, {class: numeric(column) && 'number', ...more}, content ?? '–');
  return el('div', {class: 'tabled'}, el('div', {class: 'scrolled', tabindex: '0', role: 'group', 'aria-label': caption},
    el('table', {class: wraps && 'wraps'},
      el('caption', {}, caption),
      el('thead', {}, el('tr', {}, header.map((each, column) => cell('th', each, column, {scope: 'col'})))),
      el('tbody', {}, rows.map((row) => el('tr', {}, row.map((each, column) =>
        (column ? cell('td', each, column) : cell('th', each, column, {scope: 'row'})))))))), csvButton(caption, whole));
}

const isNumber = (value) => typeof value === 'number';
const count = (value) => value.toLocaleString('en');
const percent = (share) => (isNumber(share) ? (100 * share).toFixed(1).replace('-', '−') : '–');
const estimate = (written, scale) => (mean, low, high) => (isNumber(mean)
  ? new Estimate([mean, low, high].map((each) => (isNumber(each) ? Number((scale * each).toPrecision(9)) : null)), `${written(mean)} [${written(low)}, ${written(high)}]`) : '–');
const interval = estimate((share) => percent(share), 100);
const many = (number, name) => `${count(number)} ${name}${number === 1 ? '' : 's'}`;
const signed = (share) => {
  const digits = Math.abs(100 * share).toFixed(1);
  return digits === '0.0' ? digits : (share > 0 ? '+' : '−') + digits;
};
const signedInterval = estimate(signed, 100);
const decimals = (value, digits = 2) => (isNumber(value) ? value.toFixed(digits).replace('-', '−') : '–');
const short = (value, digits = 3) => (isNumber(value) ? String(Number(value.toPrecision(digits))).replace('-', '−') : '–');

// Right and wrong: a sign and a word, not a colour alone.
function verdict(isRight, word = true) {
  return el('span', {class: isRight ? 'right' : 'wrong'},
    el('span', {'aria-hidden': 'true'}, isRight ? '✓' : '✗'),
    el('span', {class: !word && 'unseen'}, isRight ? ' right' : ' wrong'));
}

// The powers of two among some n, and the last of them: what a table has room for.
function fewPlaces(ns) {
  return ns.map((n, place) => place).filter((place) => Number.isInteger(Math.log2(ns[place])) || place === ns.length - 1);
}
