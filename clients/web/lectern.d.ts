/** What a page says of itself. As attributes of a script element: data-stream, data-content, … */
export interface Options {
  /** Name or number of the stream, as the edge knows it. */
  stream: string;
  /** Where events are sent: `https://edge.example/v1/read`. */
  endpoint: string;
  /** What is read, at most 512 characters; by default the path of the canonical link, else of the page. */
  content?: string;
  /** Who reads, where the stream counts by account. */
  user?: string;
  /** Selector of the article, for progress; by default the whole body. */
  article?: string;
  /** Present for a single-page application: each new path is opened as another content. */
  spa?: string;
}

/** What a page may call. */
export interface Lectern {
  /** Ends what is being read and opens another content; by default that of the page. */
  open(content?: string): void;
  /** The reader reached the end. */
  finish(): void;
  /** The reader kept it for later. */
  save(): void;
  /** The reader passed it on. */
  share(): void;
  /** The headline of another content was shown, in a variant of 1 to 255; 1 without one. */
  impression(content: string, variant?: number): void;
  /** It was followed. To be called before the page is left for the content. */
  click(content: string, variant?: number): void;
  /** From here on, who reads; undefined for nobody known. */
  user(id?: string): void;
}

/** Counts this page from now on. To be called once a page. */
export function start(options: Options): Lectern;
