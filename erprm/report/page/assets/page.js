// Puts the page together.

const content = JSON.parse(document.getElementById('content').textContent);

const SECTIONS = [
  summarySection,
  runsSection,
  bestOfNSection,
  ablationSection,
  voteSection,
  hackingSection,
  stepsSection,
  labelsSection,
  trainingSection,
  costsSection,
  browserSection,
];

// The reader's choice of light or dark; without one, that of the system.
function themeButton() {
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  const button = el('button', {type: 'button', onclick: () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    button.textContent = caption();
  }});
  const caption = () => (isDark() ? 'Light' : 'Dark');
  button.textContent = caption();
  button.title = 'Switch between light and dark';
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { button.textContent = caption(); });
  return button;
}

// What is folded in on the screen is printed, too.
function openForPrinting() {
  let opened = [];
  addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll('details:not([open])')];
    for (const each of opened) each.open = true;
  });
  addEventListener('afterprint', () => {
    for (const each of opened) each.open = false;
  });
}

const sections = SECTIONS.map((make) => make(content)).filter(Boolean);
document.body.append(
  el('header', {},
    el('h1', {}, content.title),
    el('nav', {'aria-label': 'Sections'}, sections.map((made) => el('a', {href: `#${made.id}`}, made.querySelector('h2').textContent))),
    themeButton()),
  el('main', {}, sections),
  el('footer', {}, `Written by erprm ${content.version}. This page is one file and loads nothing.`));
openForPrinting();
openLink();
addEventListener('hashchange', openLink);
performance.mark('page-complete');
