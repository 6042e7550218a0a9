// Tables as files of comma-separated values, made by the browser from what the page holds.

// A mean with its interval, written as one cell of a table and as three columns of a file.
class Estimate {
  constructor(values, text) {
    this.values = values;
    this.text = text;
  }

  toString() {
    return this.text;
  }
}

// A value as it stands in the file: numbers without the signs and separators of print. A text that a spreadsheet would
// take for a formula is given a quote before it.
function csvField(value) {
  if (value == null || value === '–' || Number.isNaN(value)) return '';
  if (typeof value === 'number') return String(value);
  const text = value instanceof Node ? value.textContent : String(value);
  const number = text.replace('−', '-').replace(/(?<=\d),(?=\d{3}(\D|$))/g, '');
  if (/^[-+]?\d+(\.\d+)?(e[-+]?\d+)?$/.test(number)) return number;
  const harmless = /^[=+\-@＝＋－＠\t\r\n]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

function csvText(header, rows) {
  const isEstimate = header.map((_, column) => rows.some((row) => row[column] instanceof Estimate));
  const names = header.flatMap((name, column) => (isEstimate[column] ? [name, `${name} low`, `${name} high`] : [name]));
  const values = (row) => header.flatMap((_, column) => {
    if (!isEstimate[column]) return [row[column]];
    return row[column] instanceof Estimate ? row[column].values : [row[column], null, null];
  });
  return [names, ...rows.map(values)].map((row) => `${row.map(csvField).join(',')}\r\n`).join('');
}

// A button that saves a table; content() gives its header and rows when it is pressed.
function csvButton(caption, content) {
  return el('button', {type: 'button', class: 'csv', 'aria-label': `${caption}, as CSV`, title: 'Download as CSV', onclick: () => {
    const address = URL.createObjectURL(new Blob(['\ufeff', csvText(...content())], {type: 'text/csv'}));
    el('a', {href: address, download: `${caption.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 80)}.csv`}).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }}, 'CSV');
}
