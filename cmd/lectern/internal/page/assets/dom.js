// Elements, and tables that keep their rows. All text becomes text: nothing here, and
// nothing in the other modules, makes HTML of a string.

const svgSpace = 'http://www.w3.org/2000/svg';

/** h makes an element: attributes by name, on* as listeners, then its children. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** svg is h for elements of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(svgSpace, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter(c => c != null).map(c => (c instanceof Node ? c : document.createTextNode(String(c)))));
  return element;
}

/** say sets an element's text, where it is another: what a screen reader stands on, and what is selected, stays. */
export function say(element, text) {
  text = String(text);
  if (element.textContent !== text) element.textContent = text;
  return element;
}

/** show hides an element, or shows it. */
export function show(element, shown) { element.hidden = !shown; }

/** list keeps children of a parent in step with items: one child for each key, made once, changed and moved as need be. */
export function list(parent, make) {
  const children = new Map();
  return (items, key) => {
    const gone = new Set(children.keys());
    let before = parent.firstElementChild;
    for (const item of items) {
      const k = key(item);
      let child = children.get(k);
      if (!child) children.set(k, child = make(item));
      gone.delete(k);
      child.update(item);
      for (const element of child.elements) {
        if (element === before) before = before.nextElementSibling;
        else parent.insertBefore(element, before);
      }
    }
    for (const k of gone) {
      children.get(k).elements.forEach(element => element.remove());
      children.delete(k);
    }
  };
}

/**
 * table makes a table of columns {title, text, class, html}, where text is a function
 * of an item and cell, instead, returns {element, update}. On a narrow screen its rows
 * become blocks, for which the roles are said and each cell knows its title.
 */
export function table(caption, columns, options = {}) {
  const head = h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' },
    columns.map(c => h('th', { role: 'columnheader', scope: 'col', class: c.class }, c.title))));
  const body = h('tbody', { role: 'rowgroup' });
  const element = h('table', { role: 'table', class: options.class }, h('caption', { class: options.caption ? '' : 'unseen' }, caption), head, body);
  const update = list(body, item => {
    const cells = columns.map((c, i) => {
      const first = i === 0;
      const cell = h(first ? 'th' : 'td', { role: first ? 'rowheader' : 'cell', scope: first ? 'row' : null, class: c.class, 'data-title': c.title });
      if (!c.cell) return { cell, update: item => say(cell, c.text(item)) };
      const made = c.cell(item);
      cell.append(made.element);
      return { cell, update: made.update };
    });
    const row = h('tr', { role: 'row' }, cells.map(c => c.cell));
    const more = options.more?.(item, row);
    return {
      elements: more ? [row, more.element] : [row],
      update: item => { cells.forEach(c => c.update(item)); more?.update(item); options.mark?.(row, item); },
    };
  });
  return { element, update };
}
