// Puts the page together.

const content = JSON.parse(document.getElementById('content').textContent);

const SECTIONS = [
  [summarySection, 'Summary'],
  [bestOfNSection, 'Best-of-n'],
  [ablationSection, 'Eta'],
  [voteSection, 'Vote'],
  [hackingSection, 'Score and accuracy'],
  [stepsSection, 'Step labels'],
  [labelsSection, 'Labels'],
  [costsSection, 'Costs'],
  [browserSection, 'Solutions'],
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

const sections = SECTIONS.map(([make, name]) => [make(content), name]).filter(([made]) => made);
document.body.append(
  el('header', {},
    el('h1', {}, content.title),
    el('nav', {'aria-label': 'Sections'}, sections.map(([made, name]) => el('a', {href: `#${made.id}`}, name))),
    themeButton()),
  el('main', {}, sections.map(([made]) => made)),
  el('footer', {}, `Written by erprm ${content.version}. This page is one file and loads nothing.`));
openForPrinting();
performance.mark('page-complete');
