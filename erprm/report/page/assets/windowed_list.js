// A list of which only the rows in sight are elements, so that ten thousand cost what thirty do. It is one stop of the
// tab key; arrows, Page Up and Down, Home and End move in it.

class WindowedList {
  // renderRow(index) gives the children of a row; onchoose(index) is called when another row is chosen.
  constructor(label, id, rowRem, renderRow, onchoose) {
    this.id = id;
    this.rowRem = rowRem;
    this.renderRow = renderRow;
    this.onchoose = onchoose;
    this.length = 0;
    this.chosen = -1;
    this.rows = el('div', {class: 'rows', role: 'presentation'});
    this.element = el('div', {id, class: 'list', role: 'listbox', tabindex: '0', 'aria-label': label,
      onscroll: () => this.draw(), onkeydown: (event) => this.pressed(event), onclick: (event) => this.clicked(event)}, this.rows);
    new ResizeObserver(() => this.draw(true)).observe(this.element);
  }

  get rowHeight() {
    return this.rowRem * parseFloat(getComputedStyle(document.documentElement).fontSize);
  }

  show(length, chosen) {
    this.length = length;
    this.chosen = Math.min(chosen, length - 1);
    this.rows.style.height = `${length * this.rowHeight}px`;
    this.reveal();
    this.draw(true);
  }

  choose(index) {
    if (!this.length) return;
    const wanted = Math.max(0, Math.min(this.length - 1, index));
    if (wanted === this.chosen) return;
    this.chosen = wanted;
    this.reveal();
    this.draw(true);
    this.onchoose(wanted);
  }

  // Scrolls the chosen row into sight, and nothing else.
  reveal() {
    const top = this.chosen * this.rowHeight;
    const {scrollTop, clientHeight} = this.element;
    if (this.chosen <= 0 || top < scrollTop) this.element.scrollTop = Math.max(0, top);
    else if (top + this.rowHeight > scrollTop + clientHeight) this.element.scrollTop = top + this.rowHeight - clientHeight;
  }

  draw(anew = false) {
    const height = this.rowHeight;
    const first = Math.max(0, Math.floor(this.element.scrollTop / height) - 4);
    const last = Math.min(this.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / height) + 4);
    if (!anew && first === this.first && last === this.last) return;
    this.first = first;
    this.last = last;
    this.rows.replaceChildren(...Array.from({length: Math.max(0, last - first)}, (_, place) => this.row(first + place, height)));
    if (this.chosen >= first && this.chosen < last) this.element.setAttribute('aria-activedescendant', `${this.id}-${this.chosen}`);
    else this.element.removeAttribute('aria-activedescendant');
  }

  row(index, height) {
    const row = el('div', {id: `${this.id}-${index}`, class: 'row', role: 'option', 'aria-selected': String(index === this.chosen),
      'aria-posinset': index + 1, 'aria-setsize': this.length, 'data-index': index}, this.renderRow(index));
    row.style.top = `${index * height}px`;
    row.style.height = `${height}px`;
    return row;
  }

  clicked(event) {
    const row = event.target.closest('[data-index]');
    if (row) this.choose(Number(row.dataset.index));
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight) - 1);
    const moves = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.length, End: this.length};
    if (!Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    this.choose(this.chosen + moves[event.key]);
  }
}
