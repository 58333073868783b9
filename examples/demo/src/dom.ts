/** The little that these pages need of a framework. */

type Attributes = Record<string, string | boolean | ((event: Event) => void)>;

/** Makes an element: functions become listeners (`onclick`), true an empty attribute, false none. */
export function h<T extends keyof HTMLElementTagNameMap>(
  tag: T,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[T] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.replace(/^on/, ''), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The element that the page has under an id; its absence is a bug. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

/** Starts an animation of the stylesheet from its beginning. */
export function replay(element: Element, className: string): void {
  element.classList.remove(className);
  void (element as HTMLElement).offsetWidth; // a reflow, without which nothing restarts
  element.classList.add(className);
}

/** How a keyed list shows its items. */
export interface KeyedView<Item> {
  key: (item: Item) => string;
  create: (item: Item) => HTMLElement;
  update: (element: HTMLElement, item: Item) => void;
  /** Called instead of removing; must remove the element in the end. */
  leave: (element: HTMLElement) => void;
}

/** Keeps a list's elements in step with its items, and each element with its key. */
export class KeyedList<Item> {
  private readonly elements = new Map<string, HTMLElement>();
  private readonly leaving = new WeakSet<Element>();

  constructor(
    private readonly parent: HTMLElement,
    private readonly view: KeyedView<Item>,
  ) {}

  render(items: readonly Item[]): void {
    const wanted = new Set(items.map(this.view.key));
    for (const [key, element] of this.elements) {
      if (wanted.has(key)) continue;
      this.elements.delete(key);
      this.leaving.add(element);
      this.view.leave(element);
    }
    let previous: Element | null = null;
    for (const item of items) {
      const element = this.place(item, previous);
      this.view.update(element, item);
      previous = element;
    }
  }

  private place(item: Item, previous: Element | null): HTMLElement {
    const key = this.view.key(item);
    let element = this.elements.get(key);
    if (!element) {
      element = this.view.create(item);
      this.elements.set(key, element);
    }
    let there = previous ? previous.nextElementSibling : this.parent.firstElementChild;
    while (there && this.leaving.has(there)) there = there.nextElementSibling;
    // Moving an element would cost it its focus and its animation, so only where it must be.
    if (there !== element) this.parent.insertBefore(element, there);
    return element;
  }
}
