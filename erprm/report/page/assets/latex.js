// Mathematics in solutions: the LaTeX that language models write, as MathML. What is not understood stays as it was written.

const MATHML = 'http://www.w3.org/1998/Math/MathML';
const LONGEST = 20000;
const DEEPEST = 40;

const SYMBOLS = Object.fromEntries(`
  alpha α beta β gamma γ delta δ epsilon ε varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν xi ξ
  pi π rho ρ sigma σ tau τ upsilon υ phi φ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ
  Phi Φ Psi Ψ Omega Ω infty ∞ partial ∂ nabla ∇ ell ℓ emptyset ∅ varnothing ∅ hbar ℏ Re ℜ Im ℑ aleph ℵ degree ° prime ′`
  .trim().split(/\s+/).reduce((pairs, word, place, words) => (place % 2 ? pairs : [...pairs, [word, words[place + 1]]]), []));
const OPERATORS = Object.fromEntries(`
  times × cdot · div ÷ pm ± mp ∓ ast ∗ star ⋆ circ ° bullet • le ≤ leq ≤ leqslant ≤ ge ≥ geq ≥ geqslant ≥ lt < gt > ne ≠ neq ≠ approx ≈
  equiv ≡ sim ∼ simeq ≃ cong ≅ propto ∝ ll ≪ gg ≫ in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ cup ∪ cap ∩ setminus ∖
  forall ∀ exists ∃ neg ¬ land ∧ wedge ∧ lor ∨ vee ∨ to → rightarrow → leftarrow ← leftrightarrow ↔ Rightarrow ⇒ Leftarrow ⇐
  Leftrightarrow ⇔ iff ⇔ implies ⇒ longrightarrow ⟶ mapsto ↦ int ∫ oint ∮ angle ∠ triangle △ perp ⊥ parallel ∥ mid ∣
  ldots … dots … cdots ⋯ vdots ⋮ ddots ⋱ therefore ∴ because ∵ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ langle ⟨ rangle ⟩ vert |
  lvert | rvert | Vert ‖ oplus ⊕ otimes ⊗ square □ checkmark ✓ backslash \\ colon :`
  .trim().split(/\s+/).reduce((pairs, word, place, words) => (place % 2 ? pairs : [...pairs, [word, words[place + 1]]]), []));
const FUNCTIONS = new Set('sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lcm dim ker deg arg mod bmod'.split(' '));
// In a formula of its own these have their bounds below and above, within text beside them.
const WITH_LIMITS = {sum: '∑', prod: '∏', coprod: '∐', bigcup: '⋃', bigcap: '⋂', bigoplus: '⨁', limsup: 'lim sup', liminf: 'lim inf', ...Object.fromEntries('lim max min sup inf gcd det argmax argmin'.split(' ').map((name) => [name, name]))};
const SPACES = {',': '0.17em', ':': '0.22em', ';': '0.28em', ' ': '0.28em', '!': '0', quad: '1em', qquad: '2em'};
const ACCENTS = {overline: '‾', bar: '‾', hat: '^', widehat: '^', vec: '→', overrightarrow: '→', tilde: '~', dot: '˙', overarc: '⌒'};
const TEXTS = new Set(['text', 'textbf', 'textit', 'textrm', 'mbox', 'mathrm', 'operatorname', 'hbox']);
const BLACKBOARD = {R: 'ℝ', N: 'ℕ', Z: 'ℤ', Q: 'ℚ', C: 'ℂ', P: 'ℙ'};
const STYLES = {displaystyle: 'true', textstyle: 'false'};
const IGNORED = new Set(['limits', 'nolimits', 'left.', 'right.', 'big', 'Big', 'bigg', 'Bigg', 'bigl', 'bigr', 'Bigl', 'Bigr', 'hline', 'boldsymbol', 'mathbf', 'mathit', 'mathcal', 'bold']);
const ENVIRONMENTS = {pmatrix: '()', bmatrix: '[]', vmatrix: '||', Bmatrix: '{}', matrix: '', cases: '{', array: '', align: '', aligned: '', alignat: '', gather: '', gathered: '', split: '', eqnarray: '', multline: '', equation: ''};
// Those of equations, set as formulas of their own; of the first ones, columns meet at the signs behind &.
const ALIGNED = new Set(['align', 'aligned', 'alignat', 'split', 'eqnarray']);
const EQUATIONS = new Set([...ALIGNED, 'gather', 'gathered', 'multline', 'equation']);

const TOKEN = /\\(?:[a-zA-Z]+|[^])|\d+(?:\.\d+|,\d{3}(?!\d))*|\s+|[^]/gu;

function mathml(tag, ...children) {
  const element = document.createElementNS(MATHML, tag);
  element.append(...children);
  return element;
}

class NotUnderstood extends Error {}

class MathReader {
  constructor(source) {
    this.tokens = source.match(TOKEN) ?? [];
    this.place = 0;
    this.depth = 0;
  }

  // Everything up to one of some tokens, or the end.
  row(...ends) {
    const read = [];
    for (this.skipSpace(); this.place < this.tokens.length && !ends.includes(this.tokens[this.place]); this.skipSpace()) {
      read.push(this.withScripts());
    }
    const row = mathml('mrow', ...read);
    const style = read.map((each) => each.getAttribute('displaystyle')).find(Boolean);
    if (style) row.setAttribute('displaystyle', style);
    return row;
  }

  skipSpace() {
    while (/^\s/.test(this.tokens[this.place] ?? 'x')) this.place += 1;
  }

  next() {
    this.skipSpace();
    if (this.place >= this.tokens.length) throw new NotUnderstood('it breaks off');
    return this.tokens[this.place++];
  }

  takes(token) {
    this.skipSpace();
    if (this.tokens[this.place] !== token) return false;
    this.place += 1;
    return true;
  }

  expect(token) {
    if (!this.takes(token)) throw new NotUnderstood(`no ${token}`);
  }

  withScripts() {
    const base = '^_'.includes(this.tokens[this.place]) ? mathml('mrow') : this.atom();
    let under = null;
    let over = null;
    // Of an operator with limits, TeX's \limits and \nolimits say where they are; else it depends on where it stands.
    const isLimited = base.getAttribute('movablelimits') !== null;
    if (isLimited && this.takes('\\limits')) base.setAttribute('movablelimits', 'false');
    const aside = !isLimited || this.takes('\\nolimits');
    for (;;) {
      if (this.takes('_')) under = this.argument();
      else if (this.takes('^')) over = this.argument();
      else if (this.takes("'")) over = mathml('mo', '′');
      else break;
    }
    if (under && over) return mathml(aside ? 'msubsup' : 'munderover', base, under, over);
    if (under) return mathml(aside ? 'msub' : 'munder', base, under);
    return over ? mathml(aside ? 'msup' : 'mover', base, over) : base;
  }

  // What a command or a script takes: a group, or one sign; of a number its first digit.
  argument() {
    this.skipSpace();
    const token = this.tokens[this.place] ?? '';
    if (/^\d\d/.test(token)) {
      this.tokens[this.place] = token.slice(1);
      return mathml('mn', token[0]);
    }
    return this.atom();
  }

  // The characters of a group, as they are.
  characters() {
    this.expect('{');
    let read = '';
    for (let open = 1; ; this.place += 1) {
      const token = this.tokens[this.place];
      if (token === undefined) throw new NotUnderstood('it breaks off');
      if (token === '{') open += 1;
      if (token === '}' && --open === 0) break;
      read += /^\\[^a-zA-Z]$/.test(token) ? token[1] : token;
    }
    this.place += 1;
    return read;
  }

  atom() {
    this.depth += 1;
    if (this.depth > DEEPEST) throw new NotUnderstood('too deep');
    const read = this.sign(this.next());
    this.depth -= 1;
    return read;
  }

  sign(token) {
    if (token === '{') {
      const group = this.row('}');
      this.expect('}');
      return group;
    }
    if (token[0] === '\\') return this.command(token.slice(1));
    if (/^\d/.test(token)) return mathml('mn', token);
    if (/^\p{L}/u.test(token)) return mathml('mi', token);
    if ('}&'.includes(token)) throw new NotUnderstood(`a ${token} too many`);
    const operator = mathml('mo', {'-': '−', '*': '∗', '~': '\u00a0'}[token] ?? token);
    if ('()[]|/'.includes(token)) operator.setAttribute('stretchy', 'false'); // as in TeX: \left and \right stretch
    return operator;
  }

  command(name) {
    if (Object.hasOwn(SYMBOLS, name)) return mathml('mi', SYMBOLS[name]);
    if (Object.hasOwn(OPERATORS, name)) return mathml('mo', OPERATORS[name]);
    if (Object.hasOwn(WITH_LIMITS, name)) {
      const operator = mathml('mo', WITH_LIMITS[name]);
      operator.setAttribute('movablelimits', 'true');
      return operator;
    }
    if (Object.hasOwn(STYLES, name)) {
      const nothing = mathml('mrow');
      nothing.setAttribute('displaystyle', STYLES[name]);
      return nothing;
    }
    if (FUNCTIONS.has(name)) return mathml('mi', name === 'bmod' ? 'mod' : name);
    if (TEXTS.has(name)) return mathml('mtext', this.characters());
    if (IGNORED.has(name)) return mathml('mrow');
    if (Object.hasOwn(SPACES, name)) {
      const space = mathml('mspace');
      space.setAttribute('width', SPACES[name]);
      return space;
    }
    if (Object.hasOwn(ACCENTS, name)) return this.accented(ACCENTS[name]);
    switch (name) {
      case 'frac': case 'dfrac': case 'tfrac': case 'cfrac':
        return mathml('mfrac', this.argument(), this.argument());
      case 'binom': case 'dbinom': {
        const fraction = mathml('mfrac', this.argument(), this.argument());
        fraction.setAttribute('linethickness', '0');
        return mathml('mrow', mathml('mo', '('), fraction, mathml('mo', ')'));
      }
      case 'sqrt': return this.root();
      case 'boxed': case 'fbox': {
        const content = mathml('mrow', this.argument());
        content.setAttribute('class', 'boxed');
        return content;
      }
      case 'underline': case 'phantom': case 'cancel': return this.argument();
      case 'mathbb': {
        const letters = this.characters();
        return mathml('mi', BLACKBOARD[letters] ?? letters);
      }
      case 'pmod': return mathml('mrow', mathml('mo', '('), mathml('mtext', 'mod '), this.argument(), mathml('mo', ')'));
      case 'left': return this.fenced();
      case 'begin': return this.environment();
      case 'tag': this.characters(); return mathml('mrow');
      case '\\': return mathml('mspace');
      case '|': return mathml('mo', '‖');
      default:
        if (/^[^a-zA-Z]$/.test(name)) return mathml('mo', name);
        return unknownCommand(name);
    }
  }

  accented(sign) {
    const accented = mathml('mover', this.argument(), mathml('mo', sign));
    accented.setAttribute('accent', 'true');
    return accented;
  }

  root() {
    if (!this.takes('[')) return mathml('msqrt', this.argument());
    const index = this.row(']');
    this.expect(']');
    return mathml('mroot', this.argument(), index);
  }

  delimiter() {
    const token = this.next();
    if (token === '.') return mathml('mrow');
    const name = token.replace(/^\\/, '');
    return mathml('mo', token.length > 1 ? OPERATORS[name] ?? (name === '|' ? '‖' : name) : name);
  }

  fenced() {
    const opening = this.delimiter();
    const content = this.row('\\right');
    this.expect('\\right');
    return mathml('mrow', opening, content, this.delimiter());
  }

  environment() {
    const name = this.characters().replace(/\*$/, '');
    if (!Object.hasOwn(ENVIRONMENTS, name)) throw new NotUnderstood(`the environment ${name}`);
    if (name === 'array' || name === 'alignat') this.characters();
    const rows = [[]];
    while (!this.takes('\\end')) {
      rows.at(-1).push(mathml('mtd', this.row('&', '\\\\', '\\end')));
      if (this.takes('\\\\')) rows.push([]);
      else if (!this.takes('&') && this.tokens[this.place] !== '\\end') throw new NotUnderstood('it breaks off');
    }
    this.characters();
    const grid = mathml('mtable', ...rows.filter((row) => row.length).map((row) => mathml('mtr', ...row)));
    if (ALIGNED.has(name) || name === 'cases') grid.setAttribute('class', name === 'cases' ? 'cases' : 'aligned');
    if (EQUATIONS.has(name)) grid.setAttribute('displaystyle', 'true');
    const [opening, closing] = ENVIRONMENTS[name];
    return mathml('mrow', ...(opening ? [mathml('mo', opening)] : []), grid, ...(closing ? [mathml('mo', closing)] : []));
  }
}

function unknownCommand(name) {
  const raw = mathml('mtext', `\\${name}`);
  raw.setAttribute('class', 'raw');
  return raw;
}

// A formula as MathML; in the characters it was written in, if it cannot be read.
function formula(source, written = source, isBlock = false) {
  try {
    const reader = new MathReader(source);
    const content = reader.row();
    if (reader.place < reader.tokens.length) throw new NotUnderstood('a bracket too many');
    const math = mathml('math', content);
    if (isBlock) math.setAttribute('display', 'block');
    return math;
  } catch (error) {
    if (!(error instanceof NotUnderstood)) throw error;
    return el('code', {class: 'raw'}, written);
  }
}

// \begin{align}..\end{align}, $$..$$, \[..\], \(..\), $..$ (which, as sums of money are common, starts before and ends
// behind no space, and ends before no digit), and commands that some write outside of these.
const FORMULA = /(\\begin\{(?:align|alignat|gather|eqnarray|multline|equation)\*?\}[^]+?\\end\{(?:align|alignat|gather|eqnarray|multline|equation)\*?\})|\$\$([^]+?)\$\$|\\\[([^]+?)\\\]|\\\(([^]+?)\\\)|(?<![\\$])\$(?![\s$])((?:\\[^]|[^$\\\n])*?)(?<!\s)\$(?![\d$])|\\(?:boxed|d?frac|sqrt|text)(?=[{[])/g;

// Text with formulas in it, as nodes.
function textWithFormulas(text) {
  if (text.length > LONGEST || !/[$\\]/.test(text)) return [text];
  const nodes = [];
  let end = 0;
  FORMULA.lastIndex = 0;
  for (let found; (found = FORMULA.exec(text)); ) {
    const source = found.slice(1).find((each) => each !== undefined);
    const written = source === undefined ? bareCommand(text, found.index) : found[0];
    if (found.index > end) nodes.push(plain(text.slice(end, found.index)));
    nodes.push(formula(source ?? written, written, (found[1] ?? found[2] ?? found[3]) !== undefined));
    end = FORMULA.lastIndex = found.index + written.length;
  }
  return end < text.length ? [...nodes, plain(text.slice(end))] : nodes;
}

const plain = (text) => text.replace(/\\([$%&#_])/g, '$1');

// A command outside of any formula, with its groups.
function bareCommand(text, start) {
  let end = start + /^\\[a-z]+/.exec(text.slice(start))[0].length;
  while (text[end] === '{' || text[end] === '[') {
    const [opening, closing] = text[end] === '{' ? '{}' : '[]';
    let open = 0;
    do {
      if (text[end] === opening) open += 1;
      if (text[end] === closing) open -= 1;
      end += 1;
    } while (open && end < text.length);
  }
  return text.slice(start, end);
}

// An answer: a formula if it looks like one.
function answerNode(answer) {
  if (answer == null) return el('span', {class: 'muted'}, 'none');
  if (answer.length > LONGEST || !/[\\^_]/.test(answer) || /\$/.test(answer)) return el('span', {}, ...textWithFormulas(answer));
  return formula(answer);
}
